// SPDX-License-Identifier: LGPL-2.1-or-later

//go:build linux
// +build linux

package nixstore

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A reference layer holds nothing but this file, which names a path in the
// Nix store. Here only its presence counts: nixstore-mount reads it, and
// decides whether it is to be trusted.
const (
	referenceDir  = ".nixstore"
	referenceFile = ".nixstore/reference.json"
	// referenceMax is the size from which on such a file is no reference
	// (REFERENCE_MAX_SIZE in driver/reference.h).
	referenceMax = 64 << 10
	// gcRoot is the link beside a reference layer's diff that keeps the path
	// from being collected.
	gcRoot = "nixstore-gcroot"
	// indexLink is the link beside it to the index that nixstore-mount last
	// showed the path through (SESSION_INDEX_LINK in driver/session.h).
	indexLink = "nixstore-index"
)

// standsOnReference says whether any layer below l is a reference layer. That
// l itself is one does not count: as an upper it shows its raw content.
func (d *Driver) standsOnReference(l *layer) bool {
	for _, lower := range l.lowers {
		if d.isReference(lower) {
			return true
		}
	}
	return false
}

// referenceHome gives the home directory of the reference that a stack stands
// on, which is not the driver's own for one in an additional image store.
func (d *Driver) referenceHome(l *layer) string {
	for _, diff := range append([]string{l.diff}, l.lowers...) {
		if d.isReference(diff) && !d.isOwn(diff) {
			return filepath.Dir(filepath.Dir(diff))
		}
	}
	return d.home
}

// isReference says whether a diff directory is that of a reference layer. A
// layer no longer changes once another one stands on it, so a "no" for a layer
// that may still be filled is the only answer that is not remembered.
func (d *Driver) isReference(diff string) bool {
	d.refsMutex.Lock()
	defer d.refsMutex.Unlock()
	if d.refs[diff] {
		return true
	}
	if !hasReference(diff) {
		return false
	}
	d.refs[diff] = true
	return true
}

func (d *Driver) forgetReference(diff string) {
	d.refsMutex.Lock()
	defer d.refsMutex.Unlock()
	delete(d.refs, diff)
}

// flushReference writes a reference layer, and no other, to the disk. Layers are
// not flushed, but containers/storage's books are: after a power failure they
// would name a layer without its reference, in which containers see nothing.
func (d *Driver) flushReference(id string) error {
	l, err := d.layer(id)
	if err != nil || !d.isReference(l.diff) {
		return nil
	}
	for _, name := range []string{referenceFile, referenceDir, ".", "../link", "..", "../../l", "../.."} {
		f, err := os.OpenFile(filepath.Join(l.diff, name), os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		err = f.Sync()
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// hasReference looks for a reference in a diff directory. For an ordinary
// layer that costs a single system call.
func hasReference(diff string) bool {
	if _, err := os.Lstat(filepath.Join(diff, referenceDir)); err != nil {
		return false
	}
	// The content is a stranger's: ".nixstore" may be a symlink to anywhere.
	dir, err := unix.Open(diff, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(dir)
	file, err := unix.Openat2(dir, referenceFile, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return false
	}
	defer unix.Close(file)
	var st unix.Stat_t
	if err := unix.Fstat(file, &st); err != nil {
		return false
	}
	return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size < referenceMax
}
