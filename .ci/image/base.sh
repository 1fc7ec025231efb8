#!/bin/sh
# Make a base image from Debian's packages alone, for where no image registry can be reached: base.sh NAME
# Needs root, buildah and debootstrap. Debian 12 has Python 3.11. Packages come from where apt gets them here.
set -eu
name=${1:?usage: base.sh NAME}
suite=bookworm

for tool in buildah debootstrap; do
	command -v "$tool" >/dev/null || { echo "base.sh needs $tool: apt-get install $tool" >&2; exit 1; }
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] || { echo "base.sh checks signatures by $keyring: apt-get install debian-archive-keyring" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "base.sh needs root: debootstrap makes device files and changes root" >&2; exit 1; }

mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' | sed -n "s/ $suite\$//p" | head -n 1)
[ -n "$mirror" ] || echo "apt knows no mirror of $suite here; debootstrap takes its own" >&2

container=$(buildah from scratch)
trap 'buildah rm "$container" >/dev/null' EXIT
root=$(buildah mount "$container")
debootstrap --force-check-gpg --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$root" ${mirror:+"$mirror"}
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
buildah umount "$container" >/dev/null
buildah config --cmd python3 --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
buildah commit --quiet "$container" "$name"
