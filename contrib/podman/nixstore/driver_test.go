// SPDX-License-Identifier: LGPL-2.1-or-later

//go:build linux
// +build linux

package nixstore

import (
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/drivers/graphtest"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/idtools"
	"github.com/containers/storage/pkg/reexec"
)

var epoch = time.Unix(1, 0)

func init() {
	// Layers are unpacked by a copy of the process in a chroot.
	reexec.Init()
}

// containers/storage's own tests, with ordinary layers. One driver serves all
// of them.

func TestGraphSetup(t *testing.T)       { graphtest.GetDriver(t, driverName) }
func TestGraphCreateEmpty(t *testing.T) { graphtest.DriverTestCreateEmpty(t, driverName) }
func TestGraphCreateBase(t *testing.T)  { graphtest.DriverTestCreateBase(t, driverName) }
func TestGraphCreateSnap(t *testing.T)  { graphtest.DriverTestCreateSnap(t, driverName) }
func TestGraphCreateFromTemplate(t *testing.T) {
	graphtest.DriverTestCreateFromTemplate(t, driverName)
}
func TestGraph128LayerRead(t *testing.T)     { graphtest.DriverTestDeepLayerRead(t, 128, driverName) }
func TestGraphDiffApply10Files(t *testing.T) { graphtest.DriverTestDiffApply(t, 10, driverName) }
func TestGraphChanges(t *testing.T)          { graphtest.DriverTestChanges(t, driverName) }
func TestGraphEcho(t *testing.T)             { graphtest.DriverTestEcho(t, driverName) }
func TestGraphTeardown(t *testing.T)         { graphtest.PutDriver(t) }

func TestParseOptions(t *testing.T) {
	run, store := t.TempDir(), t.TempDir()
	o, err := parseOptions([]string{
		"nixstore.mode=fuse", "nixstore.mount_program=/bin/true", ".mountopt=nodev,metacopy=on",
		"nixstore.imagestore=" + store, "nixstore.ignore_chown_errors=true", "nixstore.convert=pull",
	}, run)
	if err != nil {
		t.Fatal(err)
	}
	view := filepath.Join(run, "stores", strings.ReplaceAll(store, "/", "%2F"))
	want := []string{
		"overlay.mountopt=nodev,metacopy=on", "overlay.imagestore=" + view, "overlay.ignore_chown_errors=true",
	}
	if o.mode != "fuse" || o.mountProgram != "/bin/true" || !reflect.DeepEqual(o.overlay, want) {
		t.Errorf("got %+v", o)
	}
	if o.convert != "pull" || len(o.given) != 5 || o.given[2] != "nixstore.mountopt=nodev,metacopy=on" {
		t.Errorf("convert is %q, handed on are %q", o.convert, o.given)
	}
	if !reflect.DeepEqual(o.imageStores, []string{store}) {
		t.Errorf("image stores: %q", o.imageStores)
	}
	if link, err := os.Readlink(filepath.Join(view, "overlay")); err != nil || link != store+"/nixstore" {
		t.Errorf("the image store's view links to %q: %v", link, err)
	}
	for _, bad := range []string{
		"nixstore.mount_program=/does/not/exist", "overlay.mount_program=/bin/true", "nixstore.imagestore=relative", "word", "nixstore.convert=push",
	} {
		if _, err := parseOptions([]string{bad}, run); err == nil {
			t.Errorf("option %q is accepted", bad)
		}
	}
}

// No two stores share a view, whatever they are called, and a view that leads
// elsewhere is not used.
func TestImageStores(t *testing.T) {
	run := t.TempDir()
	var o options
	list, err := o.addImageStores("/srv/img/a,/srv/img-a,/srv/img%2Fa", run)
	if err != nil {
		t.Fatal(err)
	}
	views := strings.Split(list, ",")
	for i, store := range []string{"/srv/img/a", "/srv/img-a", "/srv/img%2Fa"} {
		if link, err := os.Readlink(filepath.Join(views[i], "overlay")); err != nil || link != store+"/nixstore" {
			t.Errorf("the view of %s links to %q: %v", store, link, err)
		}
	}
	if again, err := o.addImageStores("/srv/img/a", run); err != nil || again != views[0] {
		t.Errorf("a second time: %q, %v", again, err)
	}
	link := filepath.Join(views[0], "overlay")
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/elsewhere", link); err != nil {
		t.Fatal(err)
	}
	if _, err := o.addImageStores("/srv/img/a", run); err == nil {
		t.Error("a view that leads elsewhere is used")
	}
}

func TestFormatMapping(t *testing.T) {
	for want, maps := range map[string][]idtools.IDMap{
		"uidmapping=0:100000:65536":     {{ContainerID: 0, HostID: 100000, Size: 65536}},
		"uidmapping=0:1000:1:1:200:999": {{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 200, Size: 999}},
		"uidmapping=0:1000:1":           {{ContainerID: 0, HostID: 1000, Size: 1}},
	} {
		if got := formatMapping("uid", maps); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestMountData(t *testing.T) {
	dir := t.TempDir()
	l := &layer{diff: dir + "/diff", work: dir + "/work", empty: dir + "/empty", lowers: []string{"/h/b/diff", "/h/a/diff"}}
	shifted := graphdriver.MountOpts{
		Volatile: true, MountLabel: "s0:c1,c2",
		UidMaps: []idtools.IDMap{{HostID: 9, Size: 5}}, GidMaps: []idtools.IDMap{{HostID: 8, Size: 5}},
	}
	want := "lowerdir=/h/b/diff:/h/a/diff,upperdir=" + l.diff + ",workdir=" + l.work +
		`,volatile,context="s0:c1,c2",uidmapping=0:9:5,gidmapping=0:8:5`
	if got := mountData(l, false, shifted); got != want {
		t.Errorf("writable: got %s", got)
	}
	if got := mountData(l, true, graphdriver.MountOpts{Volatile: true}); got != "lowerdir="+l.diff+":/h/b/diff:/h/a/diff" {
		t.Errorf("read-only: got %s", got)
	}
	l.lowers = nil
	if err := os.Mkdir(l.diff+"1", 0o755); err != nil {
		t.Fatal(err)
	}
	if got := mountData(l, true, graphdriver.MountOpts{}); got != "lowerdir="+l.diff+":"+l.diff+"1:"+l.empty {
		t.Errorf("without lowers: got %s", got)
	}
}

func TestHasReference(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("ordinary/etc/passwd", 10)
	write("reference/.nixstore/reference.json", 10)
	write("huge/.nixstore/reference.json", referenceMax)
	write("directory/.nixstore/reference.json/x", 1)
	write("link/etc/passwd", 1)
	write("filelink/.nixstore/other", 1)
	for link, target := range map[string]string{
		"link/.nixstore":                    "../reference/.nixstore",
		"filelink/.nixstore/reference.json": "other",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{
		"ordinary": false, "reference": true, "huge": false, "directory": false, "link": false, "filelink": false, "gone": false,
	} {
		if got := hasReference(filepath.Join(dir, name)); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// A Get that fails leaves neither a mount nor a hold, says what nixstore-mount
// said, and the next one tries again.
func TestFailingMount(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	script := "#!/bin/sh\necho 'nixstore-mount: /nix/store/x is gone' >&2\nexit 1\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	driver, err := graphdriver.GetDriver(driverName, graphdriver.Options{
		Root: dir, RunRoot: filepath.Join(dir, "run"), DriverOptions: []string{"nixstore.mount_program=" + program},
	})
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = driver.Cleanup() }()
	if err := driver.Create("reference", "", nil); err != nil {
		t.Fatal(err)
	}
	reference := filepath.Join(dir, driverName, "reference", "diff", referenceDir)
	if err := os.Mkdir(reference, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(reference, "reference.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := driver.CreateReadWrite("container", "reference", nil); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 2; i++ {
		_, err := driver.Get("container", graphdriver.MountOpts{})
		if err == nil || err.Error() != "nixstore-mount: /nix/store/x is gone" {
			t.Errorf("attempt %d: %v", i, err)
		}
	}
	if (mountRoots{}).IsMounted(filepath.Join(dir, driverName, "container", "merged")) {
		t.Error("something is mounted")
	}
	if _, err := driver.Diff("container", nil, "reference", nil, ""); err == nil {
		t.Error("a difference without the tree below")
	}
	for _, id := range []string{"container", "reference"} {
		if err := driver.Remove(id); err != nil {
			t.Error(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, driverName, "*", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %q %v", left, err)
	}
}

// What follows pulls is started when a layer of an image is made, whatever
// fills it then, and not for a container's; and again if it has died.
func TestPuller(t *testing.T) {
	dir, bin := t.TempDir(), t.TempDir()
	program, log := filepath.Join(bin, "nixstore-mount"), filepath.Join(dir, "log")
	for name, script := range map[string]string{
		program:                        "#!/bin/sh\n",
		filepath.Join(bin, "nixstore"): "#!/bin/sh\necho $$ >>" + log + "\ncat\n",
	} {
		if err := os.WriteFile(name, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	defer func(rest time.Duration) { pullerRest = rest }(pullerRest)
	pullerRest = 0
	driver, err := graphdriver.GetDriver(driverName, graphdriver.Options{
		Root: dir, RunRoot: filepath.Join(dir, "run"),
		DriverOptions: []string{"nixstore.mount_program=" + program, "nixstore.convert=pull"},
	})
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = driver.Cleanup() }()
	started := func(want int) []string {
		t.Helper()
		var pids []string
		for i := 0; i < 100; i++ {
			text, _ := os.ReadFile(log)
			if pids = strings.Fields(string(text)); len(pids) >= want && i > 5 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if len(pids) != want {
			t.Fatalf("started %d times, not %d", len(pids), want)
		}
		return pids
	}
	if err := driver.CreateReadWrite("container", "", nil); err != nil {
		t.Fatal(err)
	}
	started(0)
	for _, id := range []string{"one", "two"} {
		if err := driver.Create(id, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	pid, err := strconv.Atoi(started(1)[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	pulls := driver.(*Driver).pulls
	for i := 0; i < 100; i++ {
		pulls.mutex.Lock()
		gone := pulls.alive == nil
		pulls.mutex.Unlock()
		if gone {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := driver.Create("three", "", nil); err != nil {
		t.Fatal(err)
	}
	started(2)
	pulls.alive.Close()
	for _, id := range []string{"container", "one", "two", "three"} {
		if err := driver.Remove(id); err != nil {
			t.Error(err)
		}
	}
}

// Where the link leads to no index, nixstore-mount is called: no error.
func TestMountIndex(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, indexLink)
	if err := os.WriteFile(file, make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"", filepath.Join(dir, "gone"), dir, link, file} {
		_ = os.Remove(link)
		if target != "" {
			if err := os.Symlink(target, link); err != nil {
				t.Fatal(err)
			}
		}
		if (&Driver{}).mountIndex(filepath.Join(dir, "diff"), dir) {
			t.Errorf("%q is mounted", target)
		}
	}
}

// A directory of which only the size differs is not a change, unless something
// was added or deleted in it.
func TestDropSameDirs(t *testing.T) {
	tree, diff := t.TempDir(), t.TempDir()
	for _, root := range []string{tree, diff} {
		for _, dir := range []string{"same/deep", "added/deep", "changed"} {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, dir := range []string{"same/deep", "same", "added/deep", "added", "changed"} {
			if err := os.Chtimes(filepath.Join(root, dir), epoch, epoch); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chmod(filepath.Join(diff, "changed"), 0o700); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(tree)
	if err != nil {
		t.Fatal(err)
	}
	below := lowers{{path: tree, tree: open}}
	defer below.close()

	modified := func(path string) archive.Change { return archive.Change{Path: path, Kind: archive.ChangeModify} }
	got := below.dropSameDirs(diff, []archive.Change{
		modified("/added"), modified("/added/deep"), modified("/added/deep/f"), {Path: "/added/deep/g", Kind: archive.ChangeAdd},
		modified("/changed"), modified("/same"), modified("/same/deep"), modified("/same/deep/f"),
	})
	want := []archive.Change{
		modified("/added/deep/f"), modified("/added"), modified("/added/deep"), {Path: "/added/deep/g", Kind: archive.ChangeAdd},
		modified("/changed"), modified("/same/deep/f"),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
