#!/bin/sh
# Make the image that infra/Dockerfile begins with, for where no registry of images answers: base.sh [MIRROR of Debian]
#
# Debian's trixie has Python 3.13. As in the image that this one stands for, there are no documents and no translations.
set -eu
for tool in mmdebstrap buildah; do
    command -v "$tool" >/dev/null || { echo "base.sh: there is no $tool here: install Debian's package $tool" >&2; exit 1; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

mmdebstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/locale/locale.alias' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook='ln -s /usr/bin/python3 "$1/usr/local/bin/python"' \
    trixie "$folder/root.tar" ${1:+"$1"}

container=$(buildah from scratch)
buildah add --quiet "$container" "$folder/root.tar" / >/dev/null
buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin --cmd python3 "$container"
buildah commit --rm "$container" "$(sed -n 's/^FROM \([^ ]*\) AS build$/\1/p' "$(dirname "$0")/../Dockerfile")"
