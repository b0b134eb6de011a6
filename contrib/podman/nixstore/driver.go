// SPDX-License-Identifier: LGPL-2.1-or-later

//go:build linux
// +build linux

// Package nixstore is a storage driver for images that live in the Nix store.
//
// It is containers/storage's overlay driver, with one difference: a stack of
// layers that stands on a reference layer (a layer that only names a path in
// the Nix store, see reference.go) is mounted by the program nixstore-mount,
// which puts the tree that the reference names in the place of the reference.
// Every other stack is mounted by the embedded overlay driver, which does not
// even know that it is embedded.
//
// The package compiles against containers/storage 1.43 (Debian 12) up to 1.57
// (Debian 13). Embedding the concrete *overlay.Driver, not an interface, lets
// it follow what changes between them, and keeps the optional interfaces that
// are found by type assertion.
package nixstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/drivers/overlay"
	"github.com/containers/storage/pkg/idtools"
	"github.com/containers/storage/pkg/mount"
	"github.com/opencontainers/selinux/go-selinux/label"
	"golang.org/x/sys/unix"
)

const driverName = "nixstore"

// mountProgram is where nixstore-mount is installed. The build sets it with
// -X; it must not come from the environment, because conmon's clean-up process
// opens the driver with a sanitised one.
var mountProgram = "/usr/libexec/nixstore/nixstore-mount"

// Driver is the overlay driver, but for stacks that stand on a reference.
type Driver struct {
	*overlay.Driver

	home    string // <graph root>/nixstore
	runhome string // <run root>/nixstore
	options options

	// ctr counts the users of the mounts that nixstore-mount made, as the
	// embedded driver's own counter does for the others.
	ctr *graphdriver.RefCounter
	// naive compares mounted trees, for layers that are not parent and child.
	naive graphdriver.DiffDriver

	pulls *puller

	refs      map[string]bool // by diff directory: is it a reference layer?
	refsMutex sync.Mutex
}

func init() {
	if err := graphdriver.Register(driverName, Init); err != nil {
		panic(fmt.Sprintf("register the storage driver %s: %v", driverName, err))
	}
}

// Init opens the driver whose layers are in home. The options are those of the
// overlay driver under the name nixstore, and those of struct options.
func Init(home string, config graphdriver.Options) (graphdriver.Driver, error) {
	runhome := filepath.Join(config.RunRoot, filepath.Base(home))
	opts, err := parseOptions(config.DriverOptions, runhome)
	if err != nil {
		return nil, err
	}
	config.DriverOptions = opts.overlay

	base, err := overlay.Init(home, config)
	if err != nil {
		return nil, err
	}
	concrete, ok := base.(*overlay.Driver)
	if !ok {
		return nil, fmt.Errorf("nixstore: this version of the overlay driver is a %T, not an overlay.Driver", base)
	}

	d := &Driver{
		Driver:  concrete,
		home:    home,
		runhome: runhome,
		options: *opts,
		ctr:     graphdriver.NewRefCounter(mountRoots{}),
		pulls:   &puller{home: home, runroot: config.RunRoot, options: opts},
		refs:    make(map[string]bool),
	}
	d.naive = graphdriver.NewNaiveDiffDriver(treeView{d}, d)
	return d, nil
}

// String names the driver; containers/storage names its directories after it.
func (d *Driver) String() string {
	return driverName
}

// Status adds what mounts the references to the overlay driver's rows in
// podman info.
func (d *Driver) Status() [][2]string {
	mode := d.options.mode
	if mode == "" {
		mode = "as configured for nixstore-mount"
	}
	return append(d.Driver.Status(), [][2]string{
		{"Nix Store Mount Program", d.options.mountProgram},
		{"Nix Store Mode", mode},
	}...)
}

// AdditionalImageStores gives the stores as the user named them.
func (d *Driver) AdditionalImageStores() []string {
	return d.options.imageStores
}

// layer is where the overlay driver keeps the parts of a layer.
type layer struct {
	diff   string
	work   string
	merged string
	empty  string   // stands in for the lowers of a layer without a parent
	lowers []string // the diff directories of the layers below, topmost first
}

// layer looks up a layer. It goes through the embedded driver's Metadata, which
// also finds layers in additional image stores and makes lost links anew.
func (d *Driver) layer(id string) (*layer, error) {
	m, err := d.Driver.Metadata(id)
	if err != nil {
		return nil, err
	}
	l := &layer{
		diff:   m["UpperDir"],
		work:   m["WorkDir"],
		merged: m["MergedDir"],
		empty:  filepath.Join(filepath.Dir(m["UpperDir"]), "empty"),
	}
	if m["LowerDir"] != "" {
		l.lowers = strings.Split(m["LowerDir"], ":")
	}
	return l, nil
}

// isOwn says whether a diff directory lies in the driver's home, and not in an
// additional image store, which is read-only.
func (d *Driver) isOwn(diff string) bool {
	return strings.HasPrefix(diff, d.home+string(os.PathSeparator))
}

// Create makes a layer of an image, which is where a pull is noticed: what
// comes next need not be an ApplyDiff (of an image in zstd:chunked only the
// files that are not there yet are fetched, into a directory that the embedded
// driver then moves). The layers of containers come by CreateReadWrite.
func (d *Driver) Create(id, parent string, opts *graphdriver.CreateOpts) error {
	d.pulls.start()
	return d.Driver.Create(id, parent, opts)
}

// Get mounts a layer, or takes another hold of its mount, and returns where.
func (d *Driver) Get(id string, options graphdriver.MountOpts) (_ string, retErr error) {
	l, err := d.layer(id)
	if err != nil {
		return d.Driver.Get(id, options) // has the better error message
	}
	readOnly := !d.isOwn(l.diff) || d.options.contains(options.Options, "ro")
	if !d.standsOnReference(l) && !(readOnly && d.isReference(l.diff)) {
		return d.Driver.Get(id, options)
	}

	uid, gid, err := idtools.GetRootUIDGID(options.UidMaps, options.GidMaps)
	if err != nil {
		return "", err
	}
	if err := idtools.MkdirAllAndChownNew(l.merged, 0o700, idtools.IDPair{UID: uid, GID: gid}); err != nil {
		return "", err
	}
	if d.ctr.Increment(l.merged) > 1 {
		return l.merged, nil
	}
	defer func() {
		if retErr != nil {
			d.ctr.Decrement(l.merged)
		}
	}()

	// Overlayfs refuses an upper that was last mounted as volatile.
	if err := os.RemoveAll(filepath.Join(l.work, "work", "incompat", "volatile")); err != nil {
		return "", err
	}
	if err := d.mount(d.referenceHome(l), mountData(l, readOnly, options), l.merged); err != nil {
		return "", err
	}
	if err := setMountFlags(l.merged, d.options.flags(options.Options)); err != nil {
		_ = unix.Unmount(l.merged, unix.MNT_DETACH)
		return "", err
	}
	return l.merged, nil
}

// Put gives up one hold of a layer's mount. When it was the last one the
// embedded driver unmounts it: its Put takes whatever is mounted there.
func (d *Driver) Put(id string) error {
	l, err := d.layer(id)
	if err != nil {
		return d.Driver.Put(id)
	}
	if d.standsOnReference(l) || d.isReference(l.diff) {
		if d.ctr.Decrement(l.merged) > 0 {
			return nil
		}
	}
	return d.Driver.Put(id)
}

// Remove deletes a layer. What is beside its diff goes with it, so also the
// link that makes the path in the Nix store a root of the garbage collector.
func (d *Driver) Remove(id string) error {
	l, err := d.layer(id)
	if err := d.Driver.Remove(id); err != nil {
		return err
	}
	if err == nil {
		d.forgetReference(l.diff)
	}
	return nil
}

// UpdateLayerIDMap does nothing for a layer above a reference: what lies in
// the store and in the layers above is never chowned, but shifted whenever it
// is mounted (so Get does not heed DisableShifting).
func (d *Driver) UpdateLayerIDMap(id string, toContainer, toHost *idtools.IDMappings, mountLabel string) error {
	if l, err := d.layer(id); err == nil && d.standsOnReference(l) {
		return nil
	}
	return d.Driver.UpdateLayerIDMap(id, toContainer, toHost, mountLabel)
}

// mountData makes the option string that the overlay driver would give to its
// mount_program.
func mountData(l *layer, readOnly bool, options graphdriver.MountOpts) string {
	lowers := withShiftedCopies(l.lowers)
	if len(lowers) == 0 {
		lowers = []string{l.empty}
	}
	lowers = append(shiftedCopies(l.diff), lowers...)

	var data string
	if readOnly {
		data = fmt.Sprintf("lowerdir=%s:%s", l.diff, strings.Join(lowers, ":"))
	} else {
		data = fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(lowers, ":"), l.diff, l.work)
		if options.Volatile {
			data += ",volatile"
		}
	}
	data = label.FormatMountLabel(data, options.MountLabel)
	if len(options.UidMaps) > 0 && len(options.GidMaps) > 0 {
		data += "," + formatMapping("uid", options.UidMaps) + "," + formatMapping("gid", options.GidMaps)
	}
	return data
}

// shiftedCopies lists the directories diff1, diff2, ... that the overlay
// driver's UpdateLayerIDMap leaves beside a diff; they belong right below it.
func shiftedCopies(diff string) []string {
	var copies []string
	for i := 1; ; i++ {
		next := fmt.Sprintf("%s%d", diff, i)
		if _, err := os.Stat(next); err != nil {
			return copies
		}
		copies = append(copies, next)
	}
}

func withShiftedCopies(diffs []string) []string {
	var all []string
	for _, diff := range diffs {
		all = append(append(all, diff), shiftedCopies(diff)...)
	}
	return all
}

// formatMapping writes an ID mapping as the overlay driver does for its
// mount_program, but also one of a single ID: for that the overlay driver asks
// to give everything to this ID, which is not what its native mounts do.
func formatMapping(kind string, maps []idtools.IDMap) string {
	ranges := make([]string, 0, len(maps))
	for _, m := range maps {
		ranges = append(ranges, fmt.Sprintf("%d:%d:%d", m.ContainerID, m.HostID, m.Size))
	}
	return fmt.Sprintf("%smapping=%s", kind, strings.Join(ranges, ":"))
}

// mount calls nixstore-mount, in the home directory of the reference: it takes
// nothing else for one. Its one line on stderr is the error.
func (d *Driver) mount(home, data, target string) error {
	args := []string{"-o", data, target}
	if d.options.mode != "" {
		args = append([]string{"--mode=" + d.options.mode}, args...)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(d.options.mountProgram, args...)
	cmd.Dir = home
	cmd.Stderr = &stderr
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if line := strings.TrimSpace(stderr.String()); line != "" {
		return errors.New(line)
	}
	return fmt.Errorf("nixstore: run %s (storage option nixstore.mount_program): %w", d.options.mountProgram, err)
}

// setMountFlags sets the flags (nodev, nosuid, ...) that the user wants on all
// mounts of containers. Only the flags of the mount itself, which no process
// has seen yet, are changed, not the filesystem beneath.
func setMountFlags(target string, flags int) error {
	if flags == 0 {
		return nil
	}
	if err := unix.Mount("", target, "", uintptr(unix.MS_REMOUNT|unix.MS_BIND|flags), ""); err != nil {
		return fmt.Errorf("nixstore: set mount flags %#x on %s: %w", flags, target, err)
	}
	return nil
}

// mountRoots is the RefCounter's test for a mount. The overlay driver asks for
// overlayfs's magic number, but not every mode of nixstore-mount needs an
// overlay.
type mountRoots struct{}

func (mountRoots) IsMounted(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_NO_AUTOMOUNT, 0, &st)
	if err == nil && st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	}
	mounted, err := mount.Mounted(path) // Linux before 5.8
	return err == nil && mounted
}
