// stdin: {"objects": [...], "expressions": [...]}; stdout: a list of what is wrong with them.
// Objects are held against the schemas of cert-manager's and the Prometheus operator's own CRDs, expressions against
// Prometheus's grammar.

import { readFileSync } from 'node:fs';
import { Certificate, Issuer } from '@kubernetes-models/cert-manager/cert-manager.io/v1';
import { PodMonitor, PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';
import { parser } from '@prometheus-io/lezer-promql';

const kinds = { Certificate, Issuer, PodMonitor, PrometheusRule };
const { objects, expressions } = JSON.parse(readFileSync(0, 'utf8'));
const wrong = [];

for (const object of objects) {
  const { apiVersion, kind, metadata, ...rest } = object;
  try {
    const model = new kinds[kind]({ metadata, ...rest });
    if (model.apiVersion !== apiVersion) throw new Error(`apiVersion is ${apiVersion}`);
    model.validate();
  } catch (error) {
    wrong.push(`${kind} ${metadata?.name}: ${error.message}`);
  }
}
for (const expression of expressions) {
  parser.parse(expression).iterate({
    enter(node) {
      if (node.type.isError) wrong.push(`at ${node.from} of ${expression}`);
    },
  });
}
console.log(JSON.stringify(wrong));
