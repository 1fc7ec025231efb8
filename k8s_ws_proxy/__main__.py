"""``python -m k8s_ws_proxy``."""

import sys

from k8s_ws_proxy.cli.main import main

sys.exit(main())
