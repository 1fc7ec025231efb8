"""``python -m k8s_ws_proxy``."""

from k8s_ws_proxy.cli.main import script

script()
