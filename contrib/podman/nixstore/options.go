// SPDX-License-Identifier: LGPL-2.1-or-later

//go:build linux
// +build linux

package nixstore

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/storage/pkg/mount"
	"github.com/containers/storage/pkg/parsers"
	"golang.org/x/sys/unix"
)

// options are the driver's own storage options.
type options struct {
	mode         string   // nixstore.mode, "" for nixstore-mount's own choice
	mountProgram string   // nixstore.mount_program
	mountOptions []string // nixstore.mountopt
	imageStores  []string // nixstore.imagestore, as the user named them
	convert      string   // nixstore.convert: "none", "pull", "" for nixstore's own setting
	given        []string // as the user gave them, but for convert
	overlay      []string // all that the embedded driver gets to see
}

// parseOptions takes the driver's own options out, and gives the others to the
// embedded driver under the name it knows. A mount_program never gets there:
// with one, the overlay driver would give up the native path for every image.
func parseOptions(given []string, runhome string) (*options, error) {
	o := &options{mountProgram: mountProgram}
	for _, option := range given {
		key, value, err := parsers.ParseKeyValueOpt(option)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(key, "overlay.") {
			return nil, fmt.Errorf("nixstore: option %s is the overlay driver's, did you mean %s.%s?",
				key, driverName, strings.TrimPrefix(key, "overlay."))
		}
		key = strings.TrimPrefix(strings.ToLower(key), driverName+".")
		key = strings.TrimPrefix(key, ".") // STORAGE_OPTS without a driver
		if key == "convert" {
			if value != "none" && value != "pull" {
				return nil, fmt.Errorf("nixstore: option %s.convert must be none or pull, not %q", driverName, value)
			}
			o.convert = value
			continue
		}
		o.given = append(o.given, driverName+"."+key+"="+value)
		switch key {
		case "mode":
			o.mode = value
			continue
		case "mount_program":
			if value == "" {
				continue
			}
			if _, err := os.Stat(value); err != nil {
				return nil, fmt.Errorf("nixstore: mount_program: %w", err)
			}
			o.mountProgram = value
			continue
		case "imagestore", "additionalimagestore":
			if value, err = o.addImageStores(value, runhome); err != nil {
				return nil, err
			}
		case "mountopt":
			o.mountOptions = strings.Split(value, ",")
		}
		o.overlay = append(o.overlay, fmt.Sprintf("overlay.%s=%s", key, value))
	}
	return o, nil
}

// addImageStores takes a list of additional image stores. The embedded driver
// looks for the layers of a store in its subdirectory "overlay", but a store
// that this driver filled has them in "nixstore": so it is shown a directory
// where the one is a link to the other.
func (o *options) addImageStores(list, runhome string) (string, error) {
	var shown []string
	for _, store := range strings.Split(list, ",") {
		if store == "" {
			continue
		}
		if !filepath.IsAbs(store) {
			return "", fmt.Errorf("nixstore: image store %q: the path is not absolute", store)
		}
		store = filepath.Clean(store)
		view := filepath.Join(runhome, "stores", url.PathEscape(store))
		if err := os.MkdirAll(view, 0o700); err != nil {
			return "", err
		}
		if err := linkTo(filepath.Join(store, driverName), filepath.Join(view, "overlay")); err != nil {
			return "", err
		}
		o.imageStores = append(o.imageStores, store)
		shown = append(shown, view)
	}
	return strings.Join(shown, ","), nil
}

// linkTo makes a symlink, or finds it made.
func linkTo(target, link string) error {
	err := os.Symlink(target, link)
	if !os.IsExist(err) {
		return err
	}
	found, err := os.Readlink(link)
	if err != nil {
		return err
	}
	if found != target {
		return fmt.Errorf("nixstore: image store: %s leads to %s, not to %s", link, found, target)
	}
	return nil
}

// effective gives the mount options of one Get: the caller's, otherwise those
// of the store.
func (o *options) effective(requested []string) []string {
	if len(requested) > 0 {
		return requested
	}
	return o.mountOptions
}

func (o *options) contains(requested []string, option string) bool {
	for _, have := range o.effective(requested) {
		if have == option {
			return true
		}
	}
	return false
}

// flags picks the flags of the mount itself out of the mount options. The
// others (metacopy=on, index=off, ...) tune an overlay of ordinary layers, of
// which nixstore-mount has its own. An upper stays writable and propagation
// stays private whatever the options say.
func (o *options) flags(requested []string) int {
	flags, _ := mount.ParseOptions(strings.Join(o.effective(requested), ","))
	return flags & (unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC |
		unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_STRICTATIME)
}
