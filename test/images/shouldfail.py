"""Images that must be refused: broken by accident or on purpose.

write_corpus(DIR) makes DIR/NAME for each, and DIR/LIST with a line for each:
    NAME <tab> SOURCE (as skopeo names it, relative to DIR) <tab> what is wrong
LIST.limits has the same for what is refused only because of a limit: a flood
or a bomb is a legal image otherwise.
"""

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import zlib

import ociimage
from nasty import T0, base_dirs
from ociimage import MEDIA, dumps
from tarraw import TarWriter, header, pad

CONFIG, MANIFEST = MEDIA + "config.v1+json", MEDIA + "manifest.v1+json"
INDEX, GZIP = MEDIA + "index.v1+json", MEDIA + "layer.v1.tar+gzip"


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_of(*parts, end=True):
    out = io.BytesIO()
    t = TarWriter(out)
    for part in parts:
        part(t)
    if end:
        t.end()
    return out.getvalue()


def zip_of(data):
    return gzip.compress(data, 6, mtime=0)


class Layout:
    """An OCI layout whose every part can be spoilt before it is written."""

    def __init__(self, *layers):
        self.tars = list(layers) or [tar_of(base_dirs)]
        self.blobs = {}
        self.layers = [self.put(zip_of(t), GZIP) for t in self.tars]
        self.config = {"architecture": "amd64", "os": "linux", "config": {},
                       "rootfs": {"type": "layers", "diff_ids": [sha(t) for t in self.tars]}}
        self.manifest = {"schemaVersion": 2, "mediaType": MANIFEST}
        self.raw_config = self.raw_manifest = self.raw_index = self.index = None
        self.after = None

    def put(self, data, media):
        self.blobs[sha(data)] = data
        return {"mediaType": media, "digest": sha(data), "size": len(data)}

    def write(self, path):
        if self.raw_manifest is None:
            config = self.raw_config if self.raw_config is not None else dumps(self.config)
            manifest = {"config": self.put(config, CONFIG), "layers": self.layers, **self.manifest}
            self.raw_manifest = dumps({k: v for k, v in manifest.items() if v is not None})
        entry = self.put(self.raw_manifest, MANIFEST)
        entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
        index = self.index or {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        if self.after:
            self.after(self, index)
        blobs = os.path.join(path, "blobs", "sha256")
        os.makedirs(blobs)
        for digest, data in self.blobs.items():
            with open(os.path.join(blobs, digest.removeprefix("sha256:")), "wb") as f:
                f.write(data)
        ociimage.write_layout(path, [])
        with open(os.path.join(path, "index.json"), "wb") as f:
            f.write(self.raw_index if self.raw_index is not None else dumps(index))


CASES, LIMITS = [], []


def case(what, table=CASES):
    def register(function):
        table.append((function.__name__.replace("_", "-"), what, function))
        return function
    return register


def add_case(name, what, change, *layers):
    """A case that is a change to a good layout."""
    def make(path):
        layout = Layout(*layers)
        change(layout)
        layout.write(path)
        return f"oci:{path}:latest"
    CASES.append((name, what, make))


def tar_case(name, what, *parts, **keys):
    """A case whose second layer is spoilt; its digests are right."""
    add_case(name, what, lambda layout: None, tar_of(base_dirs), tar_of(*parts, **keys))


def entry(*args, **keys):
    return lambda t: t.add(*args, **{"mtime": T0, **keys})


def raw(data):
    return lambda t: t.raw(data)


# ------------------------------------------------------ index, manifest -----

def change_index(**keys):
    return lambda layout: setattr(layout, "after", lambda l, index: index.update(keys))


def change_entry(**keys):
    return lambda layout: setattr(layout, "after", lambda l, index: index["manifests"][0].update(keys))


def change_manifest(**keys):
    return lambda layout: layout.manifest.update(keys)


def change_layer(**keys):
    return lambda layout: layout.layers[0].update(keys)


def set_raw(attribute, data):
    return lambda layout: setattr(layout, attribute, data)


def json_cases():
    for name, data in (("empty", b""), ("garbage", b"\x00\xff{{{"), ("truncated", b'{"schemaVersion":2,'),
                       ("array", b"[]"), ("number", b"7"), ("null", b"null"),
                       ("deep", b"[" * 100000), ("nul", b'{"a":"\\u0000"}\0')):
        add_case("index-" + name, f"index.json: {name}", set_raw("raw_index", data))
        add_case("manifest-" + name, f"manifest: {name}", set_raw("raw_manifest", data))
        add_case("config-" + name, f"config: {name}", set_raw("raw_config", data))
    add_case("index-no-manifests", "an index without manifests", change_index(manifests=[]))
    add_case("index-manifests-null", "manifests is null", change_index(manifests=None))
    add_case("index-entry-string", "manifests holds a string", change_index(manifests=["x"]))
    for name, digest in (("traversal", "sha256:../../../../etc/passwd"), ("short", "sha256:abcd"),
                         ("algorithm", "md5:d41d8cd98f00b204e9800998ecf8427e"), ("upper", "sha256:" + "A" * 64),
                         ("number", 7), ("missing", "sha256:" + "0" * 64), ("none", None)):
        add_case("index-digest-" + name, f"manifest digest: {name}", change_entry(digest=digest))
        add_case("layer-digest-" + name, f"layer digest: {name}", change_layer(digest=digest))
        add_case("config-digest-" + name, f"config digest: {name}", change_manifest(
            config={"mediaType": CONFIG, "digest": digest, "size": 10}))
    add_case("index-size", "the manifest has another size", change_entry(size=1))
    add_case("index-media-type", "unknown kind of manifest", change_entry(mediaType="text/plain"))
    add_case("manifest-schema-1", "a manifest of schema 1", lambda l: (
        setattr(l, "raw_manifest", dumps({"schemaVersion": 1, "fsLayers": []}))))
    add_case("manifest-no-config", "no config", change_manifest(config=None))
    add_case("manifest-no-layers", "no layers, yet diff IDs", change_manifest(layers=None))
    add_case("manifest-layers-object", "layers is an object", change_manifest(layers={}))
    add_case("manifest-artifact", "an artifact, not an image", change_manifest(
        config={"mediaType": "application/vnd.example+json", "digest": "sha256:" + "0" * 64, "size": 2}))
    for name, media in (("unknown", "application/x-nothing"), ("encrypted", GZIP + "+encrypted"),
                        ("xz", MEDIA + "layer.v1.tar+xz"), ("number", 3)):
        add_case("layer-media-type-" + name, f"layer media type: {name}", change_layer(mediaType=media))
    add_case("layer-size", "the layer's blob has another size", change_layer(size=12345))
    add_case("layer-size-negative", "a negative size", change_layer(size=-1))


def config_cases():
    def rootfs(value):
        return lambda l: l.config.update(rootfs=value)
    add_case("config-no-rootfs", "no rootfs", rootfs(None))
    add_case("config-few-diff-ids", "fewer diff IDs than layers", rootfs({"type": "layers", "diff_ids": []}))
    add_case("config-diff-ids-string", "diff_ids is a string", rootfs({"type": "layers", "diff_ids": "x"}))
    add_case("config-wrong-diff-id", "the diff ID is of other bytes",
             rootfs({"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}))
    add_case("config-bad-diff-id", "the diff ID is none",
             rootfs({"type": "layers", "diff_ids": ["../x"]}))
    add_case("config-many-diff-ids", "more diff IDs than layers",
             lambda l: l.config["rootfs"]["diff_ids"].append("sha256:" + "1" * 64))


def blob_case(name, what, spoil, media=GZIP):
    """The layer's blob is changed; the manifest names the changed one."""
    def change(layout):
        layout.layers[0] = layout.put(spoil(layout.tars[0]), media)
    add_case(name, what, change, tar_of(base_dirs, entry("f", data=random.Random(1).randbytes(50000))))


def blob_cases():
    def altered(layout, _):
        digest = layout.layers[0]["digest"]
        data = bytearray(layout.blobs[digest])
        data[len(data) // 2] ^= 1
        layout.blobs[digest] = bytes(data)
    add_case("layer-altered", "a bit of the layer's blob is flipped", set_raw("after", altered))

    def altered_config(layout, _):
        digest = json.loads(layout.raw_manifest)["config"]["digest"]
        layout.blobs[digest] = layout.blobs[digest].replace(b"amd64", b"amd46")
    add_case("config-altered", "the config is not what its digest says", set_raw("after", altered_config))

    def altered_manifest(layout, index):
        digest = index["manifests"][0]["digest"]
        layout.blobs[digest] = layout.blobs[digest].replace(b'"schemaVersion":2', b'"schemaVersion": ')
    add_case("manifest-altered", "the manifest is not what its digest says", set_raw("after", altered_manifest))

    zstd = lambda d: subprocess.run(["zstd", "-q", "-c"], input=d, stdout=subprocess.PIPE, check=True).stdout
    zmedia = MEDIA + "layer.v1.tar+zstd"
    blob_case("gzip-truncated", "gzip: cut", lambda d: zip_of(d)[:-20000])
    blob_case("gzip-no-trailer", "gzip: no checksum at the end", lambda d: zip_of(d)[:-8])
    blob_case("gzip-crc", "gzip: wrong checksum", lambda d: zip_of(d)[:-8] + b"\0\0\0\0" + zip_of(d)[-4:])
    blob_case("gzip-garbage", "gzip: bytes changed inside", lambda d: zip_of(d)[:3000] + b"\xff" * 500 + zip_of(d)[3500:])
    blob_case("gzip-not", "not gzip at all", lambda d: random.Random(2).randbytes(9000))
    blob_case("gzip-empty", "an empty blob", lambda d: b"")
    blob_case("zstd-truncated", "zstd: cut", lambda d: zstd(d)[:-20000], zmedia)
    blob_case("zstd-garbage", "zstd: bytes changed inside", lambda d: zstd(d)[:300] + b"\xff" * 500 + zstd(d)[800:], zmedia)
    # A window of 2 GiB: the reader is to refuse, not to allocate it.
    blob_case("zstd-window", "zstd: a window of 2 GiB",
              lambda d: b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x01\x00\x00", zmedia)


@case("the image of an index that leads to itself")
def index_loop(path):
    layout = Layout()
    fake = "sha256:" + "5" * 64

    def loop(l, index):
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": INDEX, "digest": fake, "size": 0}]}
        for _ in range(9):
            body["manifests"][0]["size"] = len(dumps(body))
        l.blobs[fake] = dumps(body)
        index["manifests"] = [{**body["manifests"][0], "annotations": index["manifests"][0]["annotations"]}]
    layout.after = loop
    layout.write(path)
    return f"oci:{path}:latest"


@case("indexes in indexes, 5,000 deep")
def index_nested(path):
    layout = Layout()

    def nest(l, index):
        inner = index["manifests"][0]
        notes = inner.pop("annotations")
        for _ in range(5000):
            inner = l.put(dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]}), INDEX)
        index["manifests"] = [{**inner, "annotations": notes}]
    layout.after = nest
    layout.write(path)
    return f"oci:{path}:latest"


@case("only for platforms that this is not")
def index_other_platform(path):
    layout = Layout()

    def other(l, index):
        notes = index["manifests"][0].pop("annotations")
        inner = {**index["manifests"][0], "platform": {"os": "plan9", "architecture": "mips"}}
        outer = l.put(dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]}), INDEX)
        index["manifests"] = [{**outer, "annotations": notes}]
    layout.after = other
    layout.write(path)
    return f"oci:{path}:latest"


# ------------------------------------------------------------------ tars ----

def tar_cases():
    f = entry("f", data=b"x" * 5000)
    tar_case("tar-truncated", "tar: ends inside a file", raw(header(b"f", size=10 ** 6) + b"x" * 5000), end=False)
    tar_case("tar-half-header", "tar: ends inside a header", f, raw(header(b"g")[:200]), end=False)
    tar_case("tar-checksum", "tar: wrong header checksum", f, raw(header(b"g", checksum=1)))
    tar_case("tar-garbage", "tar: garbage", raw(random.Random(3).randbytes(20480)), end=False)
    tar_case("tar-size-huge", "tar: a size of 2^62", raw(header(b"f", size=2 ** 62) + b"x" * 512))
    tar_case("tar-size-negative", "tar: a negative size", raw(header(b"f", size=-512) + b"x" * 512))
    tar_case("tar-kind", "tar: an unknown kind of entry", raw(header(b"f", b"Q")))
    for name, body in (("length", b"999 path=abc\n"), ("short", b"3 path=abc\n"), ("no-equals", b"9 pathab\n"),
                       ("letters", b"xx path=abc\n"), ("negative", b"-8 path=a\n"),
                       ("no-newline", b"12 path=abcd"), ("overflow", b"99999999999999999999 path=a\n")):
        tar_case("pax-" + name, f"pax: {name}", raw(header(b"x", b"x", size=len(body)) + pad(body)), f)
    # Stock Podman refuses a time that is none, and names with a NUL, too; libarchive does not say.
    for key, value in (("size", "-1"), ("size", "99999999999999999999"), ("uid", "-5"),
                       ("uid", "4294967296"), ("gid", "99999999999")):
        tar_case(f"pax-{key}-{abs(hash_of(value))}", f"pax: {key}={value!r}",
                 entry("p", data=b"x" * 600, pax=[(key, value)]))
    tar_case("pax-header-huge", "pax: a header of 2 GiB is announced", raw(header(b"x", b"x", size=2 ** 31)), f)
    tar_case("pax-twice", "pax: two headers in a row", raw(2 * (header(b"x", b"x", size=9) + pad(b"9 path=a\n"))), f)
    tar_case("pax-alone", "pax: a header of nothing", f, raw(header(b"x", b"x", size=9) + pad(b"9 path=a\n")), end=False)
    tar_case("pax-map-huge", "sparse 1.0: a map of 3 MiB",
             lambda t: t.sparse_pax("1.0", "s", 2 << 20, [(2 * i, b"x") for i in range(1 << 18)]))
    tar_case("zeros-alone", "tar: a lone block of zeros", f, raw(b"\0" * 512), f)
    tar_case("dir-content", "a directory with content, which would hide what follows",
             entry("d", "dir", pax=[("size", "512")]), f)
    tar_case("hardlink-content", "a hard link with content, which would hide what follows", f,
             entry("l", "hardlink", link="f", pax=[("size", "512")]), f)
    tar_case("gnu-name-huge", "GNU: a name of 1 GiB is announced", raw(header(b"x", b"L", size=2 ** 30)), f)
    for v in ("1.0", "0.1", "0.0"):
        for name, size, extents in (("outside", 10, [(0, b"x" * 100)]), ("order", 4096, [(2048, b"b"), (0, b"a")]),
                                    ("overlap", 4096, [(0, b"x" * 100), (50, b"y" * 100)]), ("negative", -1, [(0, b"x")]),
                                    ("overflow", 100, [(2 ** 63 - 1, b"x")])):
            tar_case(f"sparse-{v}-{name}", f"sparse {v}: {name}",
                     lambda t, v=v, s=size, e=extents: t.sparse_pax(v, "s", s, e))
    tar_case("sparse-gnu-outside", "old sparse: data beyond the end", lambda t: t.sparse_gnu("s", 10, [(0, b"x" * 100)]))


def hash_of(value):
    return zlib.crc32(value if isinstance(value, bytes) else value.encode()) % 1000


def name_cases():
    for name, path in (("dotdot", "../x"), ("dotdot-inside", "etc/../../x"), ("dotdot-deep", "a/b/../../../../x"),
                       ("dotdot-absolute", "/../x"), ("dotdot-end", "etc/.."), ("dotdot-only", ".."),
                       ("long", "n" * 256), ("deep", "/".join(["d" * 200] * 30)),
                       ("nothing-left", "")):
        tar_case("name-" + name, f"a name: {name}", entry(path, data=b"x"))
    for name, path in (("dot", ".wh.."), ("dotdot", ".wh..."), ("sub-dot", "etc/.wh.."), ("sub-dotdot", "etc/.wh..."),
                       ("nothing", ".wh."), ("through-dotdot", "etc/../../.wh.x")):
        tar_case("whiteout-" + name, f"a whiteout of {name}", entry(path, mode=0))
    for name, to in (("outside", "../../../../etc/passwd"), ("missing", "no/such/file"), ("itself", "l"),
                     ("directory", "etc"), ("empty", ""), ("later", "later")):
        tar_case("hardlink-" + name, f"a hard link: {name}", entry("l", "hardlink", link=to),
                 entry("later", data=b"x"))
    tar_case("symlink-long", "a symlink of 4096 bytes", entry("l", "symlink", link="s" * 4096))
    tar_case("symlink-empty", "a symlink to nothing", entry("l", "symlink", link=""))
    tar_case("parent-file", "a file as a directory", entry("f", data=b"x"), entry("f/x", data=b"x"))
    tar_case("parent-dangling", "a name through a dangling symlink", entry("l", "symlink", link="nowhere"),
             entry("l/x", data=b"x"))
    tar_case("parent-loop", "a name through a symlink loop", entry("l", "symlink", link="l"), entry("l/x", data=b"x"))
    tar_case("xattr-huge", "an xattr of 70,000 bytes", entry("f", xattrs={"user.x": b"v" * 70000}))
    tar_case("xattr-many-names", "more names of xattrs than Linux lists",
             entry("f", xattrs={"user.%0250d" % i: b"v" for i in range(300)}))
    tar_case("xattr-long-name", "an xattr's name of 300 bytes", entry("f", xattrs={"user." + "n" * 300: b"v"}))
    tar_case("xattr-user-link", "user.* on a symlink", entry("l", "symlink", link="x", xattrs={"user.x": b"v"}))


# -------------------------------------------------------------- archives ----

def good_archive(path, form):
    tar = path + ".layer"
    with open(tar, "wb") as f:
        f.write(tar_of(base_dirs, entry("f", data=random.Random(4).randbytes(100000))))
    ociimage.Image("bad", [tar]).write(path, form, "gzip")
    os.unlink(tar)


def archive_case(form, name, what, spoil):
    def make(path):
        good_archive(path, form)
        with open(path, "rb") as f:
            data = f.read()
        with open(path, "wb") as f:
            f.write(spoil(data))
        return f"{form}:{path}"
    CASES.append((f"{form}-{name}", f"{form}: {what}", make))


def archive_cases():
    for form in ("docker-archive", "oci-archive"):
        archive_case(form, "truncated", "cut in the middle", lambda d: d[:len(d) // 2])
        archive_case(form, "cut-early", "cut in its first header", lambda d: d[:300])
        archive_case(form, "empty", "an empty file", lambda d: b"")
        archive_case(form, "zeros", "nothing but zeros", lambda d: b"\0" * 10240)
        archive_case(form, "random", "random bytes", lambda d: random.Random(5).randbytes(30000))
        archive_case(form, "bit", "a bit flipped in the layer", lambda d: d[:40000] + bytes([d[40000] ^ 1]) + d[40001:])
        archive_case(form, "long-name", "a further file with a name of 5,000 bytes",
                     lambda d: tar_of(lambda t: t.add("n" * 5000, mtime=T0), end=False) + d)
        archive_case(form, "long-link", "a further symlink to a name of 5,000 bytes",
                     lambda d: tar_of(lambda t: t.add("n", "symlink", link="n" * 5000, mtime=T0), end=False) + d)
    for name, manifest in (("no-manifest", None), ("garbage", b"{"), ("object", b"{}"), ("none", b"[]"),
                           ("missing-layer", b'[{"Config":"c.json","Layers":["x.tar"]}]'),
                           ("traversal", b'[{"Config":"../../etc/passwd","Layers":[]}]')):
        def make(path, manifest=manifest):
            import tarfile
            with tarfile.open(path, "w") as t:
                ociimage.add_plain(t, "c.json", data=dumps(Layout().config))
                if manifest is not None:
                    ociimage.add_plain(t, "manifest.json", data=manifest)
            return f"docker-archive:{path}"
        CASES.append((f"docker-archive-{name}", f"docker-archive: {name}", make))


@case("there is no such file")
def no_such_file(path):
    return f"oci-archive:{path}"


# ---------------------------------------------------------------- limits ----

@case("300,000 device nodes", LIMITS)
def flood_devices(path):
    def part(t):
        for i in range(300000):
            t.add(f"d{i}", "char", major=1, minor=i % 256, mtime=T0)
    Layout(tar_of(base_dirs, part)).write(path)
    return f"oci:{path}:latest"


@case("a file of 4 GiB of zeros in a blob of some kilobytes", LIMITS)
def bomb_zstd(path):
    size, zeros = 4 << 30, b"\0" * (1 << 24)
    os.makedirs(path)
    blob, h = os.path.join(path, "blob"), hashlib.sha256()
    with open(blob, "wb") as out:
        z = subprocess.Popen(["zstd", "-q", "-c"], stdin=subprocess.PIPE, stdout=out)
        for chunk in [header(b"bomb", size=size)] + [zeros] * (size >> 24) + [b"\0" * 1024]:
            z.stdin.write(chunk)
            h.update(chunk)
        z.stdin.close()
        if z.wait():
            raise OSError("zstd failed")
    layout = Layout()
    with open(blob, "rb") as f:
        layout.layers = [layout.put(f.read(), MEDIA + "layer.v1.tar+zstd")]
    layout.config["rootfs"]["diff_ids"] = ["sha256:" + h.hexdigest()]
    shutil.rmtree(path)
    layout.write(path)
    return f"oci:{path}:latest"


@case("directories 70,000 deep, through symlinks", LIMITS)
def deep_by_symlinks(path):
    def part(t):
        down, here = "a/" * 1799 + "a", "t"
        t.add(down, "dir", mtime=T0)
        t.add("t", "symlink", link=down, mtime=T0)
        for _ in range(38):
            t.add(f"{here}/{down}", "dir", mtime=T0)
            t.add(f"{here}/n", "symlink", link=down, mtime=T0)
            here += "/n"
    Layout(tar_of(base_dirs, part)).write(path)
    return f"oci:{path}:latest"


@case("a manifest of more than 1 GiB: 72,000 names in a directory of 3,795 bytes to be escaped", LIMITS)
def manifest_flood(path):
    def part(t):
        top = "/".join(["\n" * 252] * 15)
        t.add(top, "dir", mtime=T0)
        t.add("l", "symlink", link=top, mtime=T0)
        for i in range(72000):
            t.add(f"l/{i}", mtime=T0)
    Layout(tar_of(base_dirs, part)).write(path)
    return f"oci:{path}:latest"


json_cases()
config_cases()
blob_cases()
tar_cases()
name_cases()
archive_cases()


def write_corpus(dest):
    os.makedirs(dest)
    os.chdir(dest)
    for table, name in ((CASES, "LIST"), (LIMITS, "LIST.limits")):
        with open(name, "w") as f:
            for case_name, what, make in table:
                source = make(case_name)
                f.write(f"{case_name}\t{source}\t{what}\n")
