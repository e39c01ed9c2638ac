#!/usr/bin/env bash
# deb.sh [amd64|arm64|armhf]: builds build/nominald_VERSION_ARCH.deb, the same
# bytes for the same commit. The default is this machine's architecture. armhf
# is built for ARMv6, which Raspberry Pi OS still serves.
set -euo pipefail
cd "$(dirname "$0")/.."

# debhelper brings dh-sequence-installsysusers from Debian 12 on.
if ! { command -v dh && command -v dpkg-buildpackage && command -v fakeroot; } >/dev/null; then
	if [ "$(id -u)" != 0 ]; then
		echo "building a package needs: apt-get install debhelper dpkg-dev fakeroot" >&2
		exit 1
	fi
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debhelper dpkg-dev fakeroot
fi

arch=${1:-$(dpkg --print-architecture)}
case $arch in
amd64 | arm64) export GOARCH=$arch ;;
armhf) export GOARCH=arm GOARM=6 ;;
*)
	echo "no package for architecture $arch: amd64, arm64 and armhf are built" >&2
	exit 2
	;;
esac
export GOOS=linux CGO_ENABLED=0
version=${VERSION:-$(packaging/version.sh)}
# dpkg sorts 0.1.0~dev before 0.1.0; a native package's version has no hyphen.
debversion=$(sed 's/-dev/~dev/; s/-/+/g' <<<"$version")
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

work=build/deb/$arch
rm -rf "$work"
mkdir -p "$work"
cp -r packaging/debian packaging/man "$work/"
src=$work/src
mkdir "$src"
mv "$work/debian" "$work/man" "$src/"

go mod download
go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o "$src/" ./cmd/nominald

cp packaging/nominald.example.yaml "$src/nominald.yaml"
cp systemd/nominald.service "$src/debian/nominald.service"
cp systemd/nominald.sysusers "$src/debian/nominald.sysusers"
cp systemd/nominald.tmpfiles "$src/debian/nominald.tmpfiles"
cp systemd/60-nominald.rules "$src/debian/nominald.udev"
echo 'man/*.1' >"$src/debian/nominald.manpages"
for doc in README.md ARCHITECTURE.md packaging/docs/*; do
	[ -e "$doc" ] || continue
	cp -r "$doc" "$src/"
	basename "$doc" >>"$src/debian/nominald.docs"
done
echo nominald.yaml >"$src/debian/nominald.examples"

if [ "$debversion" != "$(dpkg-parsechangelog -l "$src/debian/changelog" -S Version)" ]; then
	{
		printf 'nominald (%s) unstable; urgency=medium\n\n  * Built from %s.\n\n' "$debversion" "$version"
		printf ' -- nominald maintainers <maintainers@nominald.invalid>  %s\n\n' "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"
		cat "$src/debian/changelog"
	} >"$work/changelog"
	mv "$work/changelog" "$src/debian/changelog"
fi

(cd "$src" && dpkg-buildpackage -b -a "$arch" -d -us -uc) >"$work/log" 2>&1 || {
	tail -n 40 "$work/log" >&2
	exit 1
}
mv "$work"/*.deb build/
echo "build/nominald_${debversion}_$arch.deb"
