#!/bin/bash
# parallel: yes
# timeout: 1800
# The same for what people do with Podman, root's and a user's: beside trixie.sh, as it takes as long.
TRIXIE_TESTS="test/podman/lifecycle.sh test/podman/verbs-images.sh test/podman/verbs-build.sh
  test/podman/verbs-containers.sh test/podman/replace.sh test/podman/rootless.sh"
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/trixie/trixie.sh"
