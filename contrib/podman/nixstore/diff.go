// SPDX-License-Identifier: LGPL-2.1-or-later

//go:build linux
// +build linux

package nixstore

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/directory"
	"github.com/containers/storage/pkg/idtools"
	"github.com/containers/storage/pkg/ioutils"
	"golang.org/x/sys/unix"
)

// comparison is how the difference between a layer and another one is found.
type comparison int

const (
	// compareRaw leaves it to the overlay driver: no reference lies below.
	// The difference of a reference layer itself is the raw reference, so
	// that push and save send it on unchanged.
	compareRaw comparison = iota
	// compareUpper reads the upper directory, as the overlay driver does,
	// with the referenced trees for lowers.
	compareUpper
	// compareTrees walks both mounted trees.
	compareTrees
)

func (d *Driver) comparison(id, parent string) (*layer, comparison) {
	l, err := d.layer(id)
	if err != nil {
		return nil, compareRaw // which tells the error
	}
	stands := d.standsOnReference(l)
	var below *layer
	if parent != "" {
		if below, err = d.layer(parent); err != nil {
			return nil, compareRaw
		}
	}
	switch {
	case isParent(l, below) && stands:
		return l, compareUpper
	case isParent(l, below):
		return l, compareRaw
	case stands, below != nil && (d.standsOnReference(below) || d.isReference(below.diff)):
		return l, compareTrees
	default:
		return l, compareRaw
	}
}

// isParent says whether below (nil: nothing) is what lies right below l.
func isParent(l, below *layer) bool {
	if below == nil || len(l.lowers) == 0 {
		return below == nil && len(l.lowers) == 0
	}
	return l.lowers[0] == below.diff
}

// Diff gives the difference between a layer and its parent as a tar stream.
func (d *Driver) Diff(id string, idMappings *idtools.IDMappings, parent string, parentMappings *idtools.IDMappings, mountLabel string) (io.ReadCloser, error) {
	l, how := d.comparison(id, parent)
	switch how {
	case compareRaw:
		return d.Driver.Diff(id, idMappings, parent, parentMappings, mountLabel)
	case compareTrees:
		return d.naive.Diff(id, idMappings, parent, parentMappings, mountLabel)
	}

	if idMappings == nil {
		idMappings = &idtools.IDMappings{}
	}
	diff, err := d.DifferTarget(id)
	if err != nil {
		return nil, err
	}
	below, err := d.openLowers(l)
	if err != nil {
		return nil, err
	}
	stream, err := archive.TarWithOptions(diff, &archive.TarOptions{
		Compression:    archive.Uncompressed,
		UIDMaps:        idMappings.UIDs(),
		GIDMaps:        idMappings.GIDs(),
		WhiteoutFormat: archive.OverlayWhiteoutFormat,
		WhiteoutData:   below.paths(),
	})
	if err != nil {
		below.close()
		return nil, err
	}
	return ioutils.NewReadCloserWrapper(stream, func() error {
		defer below.close()
		return stream.Close()
	}), nil
}

// Changes lists what a layer changes in its parent.
func (d *Driver) Changes(id string, idMappings *idtools.IDMappings, parent string, parentMappings *idtools.IDMappings, mountLabel string) ([]archive.Change, error) {
	l, how := d.comparison(id, parent)
	switch how {
	case compareRaw:
		return d.Driver.Changes(id, idMappings, parent, parentMappings, mountLabel)
	case compareTrees:
		return d.naive.Changes(id, idMappings, parent, parentMappings, mountLabel)
	}

	diff, err := d.DifferTarget(id)
	if err != nil {
		return nil, err
	}
	below, err := d.openLowers(l)
	if err != nil {
		return nil, err
	}
	defer below.close()
	changes, err := archive.OverlayChanges(below.paths(), diff)
	if err != nil {
		return nil, err
	}
	return below.dropSameDirs(diff, changes), nil
}

// DiffSize gives the bytes that a layer adds to its parent.
func (d *Driver) DiffSize(id string, idMappings *idtools.IDMappings, parent string, parentMappings *idtools.IDMappings, mountLabel string) (int64, error) {
	_, how := d.comparison(id, parent)
	switch how {
	case compareRaw:
		return d.Driver.DiffSize(id, idMappings, parent, parentMappings, mountLabel)
	case compareTrees:
		return d.naive.DiffSize(id, idMappings, parent, parentMappings, mountLabel)
	}
	diff, err := d.DifferTarget(id)
	if err != nil {
		return 0, err
	}
	return directory.Size(diff)
}

// ApplyDiff unpacks a layer. Above its own parent that needs no mount, so the
// overlay driver does it, whatever lies below.
func (d *Driver) ApplyDiff(id, parent string, options graphdriver.ApplyDiffOpts) (int64, error) {
	if _, how := d.comparison(id, parent); how == compareTrees {
		return d.naive.ApplyDiff(id, parent, options)
	}
	size, err := d.Driver.ApplyDiff(id, parent, options)
	if err == nil {
		err = d.flushReference(id)
	}
	return size, err
}

// treeView is the driver as the comparison of mounted trees must see it: a
// reference layer shows the tree that it stands for, not its raw content.
type treeView struct{ *Driver }

func (v treeView) Get(id string, options graphdriver.MountOpts) (string, error) {
	if l, err := v.layer(id); err == nil && v.isReference(l.diff) {
		options.Options = append([]string{"ro"}, options.Options...)
	}
	return v.Driver.Get(id, options)
}

// lower is a directory that an upper directory is compared with.
type lower struct {
	path string
	// tree is the tree that a reference layer stands for, of which path then
	// is the descriptor's name; nil for an ordinary layer.
	tree *os.File
	// diff is the reference layer's diff directory.
	diff string
	// plain is that tree as it lies in the Nix store, if the sizes of its
	// directories say anything, or ""; nil if nobody asked yet.
	plain *string
}

type lowers []lower

// openLowers opens what lies below a layer, topmost first. The caller closes
// it.
func (d *Driver) openLowers(l *layer) (lowers, error) {
	var below lowers
	for _, diff := range l.lowers {
		if !d.isReference(diff) {
			below = append(below, lower{path: diff})
			continue
		}
		tree, err := d.openTree(diff)
		if err != nil {
			below.close()
			return nil, err
		}
		below = append(below, lower{
			path: fmt.Sprintf("/proc/self/fd/%d", tree.Fd()),
			tree: tree,
			diff: diff,
		})
	}
	return below, nil
}

// openTree opens the tree that a reference layer stands for. The mount is
// gone from the file system before anybody can see it; the descriptor alone
// holds it.
func (d *Driver) openTree(diff string) (*os.File, error) {
	// Beside the diff a mount is private, and a directory that is left
	// behind (by SIGKILL) goes when the layer does.
	parent := filepath.Dir(diff)
	if !d.isOwn(diff) {
		parent = d.runhome
	}
	target, err := os.MkdirTemp(parent, "tree-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(target)
	if !d.mountIndex(diff, target) {
		if err := d.mount(filepath.Dir(filepath.Dir(diff)), "lowerdir="+diff, target); err != nil {
			return nil, err
		}
	}
	defer unix.Unmount(target, unix.MNT_DETACH)
	return os.Open(target)
}

// mountIndex mounts the index of a reference layer alone: to compare needs
// names and attributes, no content. nixstore-mount leaves a link to the index
// if that is what it shows. Where there is none, or the index is gone, or the
// kernel does not mount it like this, nixstore-mount is called.
func (d *Driver) mountIndex(diff, target string) bool {
	if d.options.mode == "bind" {
		return false
	}
	path, err := os.Readlink(filepath.Join(filepath.Dir(diff), indexLink))
	if err != nil {
		return false
	}
	index, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(index)
	var st unix.Stat_t
	if unix.Fstat(index, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG ||
		st.Mode&0o022 != 0 || int(st.Uid) != os.Geteuid() {
		return false // the kernel is given no stranger's image
	}
	flags := uintptr(unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC)
	return unix.Mount(fmt.Sprintf("/proc/self/fd/%d", index), target, "erofs", flags, "") == nil
}

func (below lowers) close() {
	for _, l := range below {
		if l.tree != nil {
			l.tree.Close()
		}
	}
}

func (below lowers) paths() []string {
	paths := make([]string, 0, len(below))
	for _, l := range below {
		paths = append(paths, l.path)
	}
	return paths
}

// plainTree finds the tree of a reference layer in the Nix store, through the
// garbage collector's root beside the layer. It must be on the same kind of
// filesystem as the layer, and the image one of a single layer: of several,
// the topmost layer that has a directory would decide about its size, and the
// collapsed tree no longer knows that.
func plainTree(diff string) string {
	store, err := os.Readlink(filepath.Join(filepath.Dir(diff), gcRoot))
	if err != nil {
		return ""
	}
	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	text, err := os.ReadFile(filepath.Join(store, "config.json"))
	if err != nil || json.Unmarshal(text, &config) != nil || len(config.RootFS.DiffIDs) != 1 {
		return ""
	}
	plain := filepath.Join(store, "rootfs")
	var ours, theirs unix.Statfs_t
	if unix.Statfs(diff, &ours) != nil || unix.Statfs(plain, &theirs) != nil || ours.Type != theirs.Type {
		return ""
	}
	return plain
}

// dropSameDirs takes the directories out of changes that are there only for
// their size. archive.OverlayChanges calls a directory changed when its size
// is another one than below, which says something about two directories of one
// filesystem, but nothing when the lower one comes from an index. As there, a
// directory of which only the content changes is listed before the first
// addition or deletion in it.
func (below lowers) dropSameDirs(diff string, changes []archive.Change) []archive.Change {
	dropped := make(map[string]bool)
	var kept []archive.Change
	for _, change := range changes {
		if change.Kind == archive.ChangeModify {
			if below.hasSameDir(diff, change.Path) {
				dropped[change.Path] = true
				continue
			}
		} else {
			kept = append(kept, takeParents(dropped, change.Path)...)
		}
		kept = append(kept, change)
	}
	return kept
}

// takeParents takes the directories above path out of dropped and lists them
// as modified, the topmost first.
func takeParents(dropped map[string]bool, path string) []archive.Change {
	var parents []archive.Change
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		if dropped[dir] {
			delete(dropped, dir)
			parents = append([]archive.Change{{Path: dir, Kind: archive.ChangeModify}}, parents...)
		}
	}
	return parents
}

// hasSameDir says whether path is a directory that the layer did not change,
// the topmost lower that has it being a referenced tree.
func (below lowers) hasSameDir(diff, path string) bool {
	upper, err := os.Lstat(filepath.Join(diff, path))
	if err != nil || !upper.IsDir() {
		return false
	}
	for i := range below {
		l := &below[i]
		old, err := os.Stat(filepath.Join(l.path, path))
		if err != nil {
			continue
		}
		return l.tree != nil && old.IsDir() && old.Mode() == upper.Mode() &&
			sameTime(old.ModTime(), upper.ModTime()) && l.sameSize(path, upper)
	}
	return false
}

func (l *lower) sameSize(path string, upper os.FileInfo) bool {
	if l.plain == nil {
		plain := plainTree(l.diff)
		l.plain = &plain
	}
	if *l.plain == "" {
		return true
	}
	old, err := os.Lstat(filepath.Join(*l.plain, path))
	return err != nil || old.Size() == upper.Size()
}

// sameTime compares as package archive does: a tar stream may have dropped the
// nanoseconds.
func sameTime(a, b time.Time) bool {
	return a.Equal(b) || a.Unix() == b.Unix() && (a.Nanosecond() == 0 || b.Nanosecond() == 0)
}
