#!/bin/sh
# Build the image with whichever of podman, buildah and docker works here: build.sh NAME [ARGUMENT...]
# Further arguments are the engine's own, as in --build-arg PYTHON_IMAGE=... . IMAGE_ENGINE chooses one of the three.
set -eu
cd "$(dirname "$0")/../.."
name=${1:?usage: build.sh NAME [ARGUMENT...]}
shift

candidates=${IMAGE_ENGINE:-podman buildah docker}
engine=
for candidate in $candidates; do
	if command -v "$candidate" >/dev/null && "$candidate" info >/dev/null 2>&1; then
		engine=$candidate
		break
	fi
done
if [ -z "$engine" ]; then
	echo "No image can be built here with: $candidates. Install one, for example: apt-get install buildah." >&2
	echo "(The docker command alone is only a client: it needs a running engine.)" >&2
	exit 1
fi

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' k8s_ws_proxy/__init__.py)
revision=$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)
# The commit's time for the image and, where the engine can, for its files: the same commit makes the same image.
time=$(git log -1 --format=%ct 2>/dev/null || echo 0)
case $engine in
docker) set -- --build-arg "SOURCE_DATE_EPOCH=$time" "$@" ;;
*) set -- --timestamp "$time" "$@" ;;
esac
echo "$engine builds $name"
exec "$engine" build --build-arg "VERSION=$version" --build-arg "REVISION=$revision" "$@" \
	--file Containerfile --tag "$name" .
