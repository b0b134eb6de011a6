// SPDX-License-Identifier: LGPL-2.1-or-later

// Reads what tar-mutants wrote and judges it by Go's archive/tar, by which Podman reads layers:
// what both accept must be the same, and what Go accepts may be refused for known reasons alone.
// Prints a line for each kind of verdict and how often it was given; "differ" and "refused" are the
// bad ones, and come with the number of the first such tar and what was made of it.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

const (
	readMax = 1 << 20
	showMax = 100
)

var types = map[byte]int{tar.TypeReg: 0, tar.TypeRegA: 0, tar.TypeGNUSparse: 0, tar.TypeLink: 1,
	tar.TypeSymlink: 2, tar.TypeChar: 3, tar.TypeBlock: 4, tar.TypeDir: 5, tar.TypeFifo: 6}

// Other versions of sparse files are files as they stand to Go, and are not to libarchive, which
// takes half a version for a whole one: nobody writes them.
var versions = map[string]bool{".": true, "0.0": true, "0.1": true, "1.0": true}
var errVersion = errors.New("an unknown version of sparse files")

// What doc/ARCHITECTURE.md says that only we refuse.
var known = []string{
	"Damaged tar archive",                 // a pax header or long name at the end
	"Ignoring malformed pax",              // a second pax header in a row
	"Unrecognized GNU sparse file format", // a map 0.x with its version named
	"content of what is no file",          // a slash at the end of a file's name
	"its content is not as long",          // a size where there is no content
}

func list(archive []byte) (string, error) {
	var text strings.Builder
	// Without Seek, by which it would go beyond the end.
	r := tar.NewReader(struct{ io.Reader }{bytes.NewReader(archive)})
	for {
		h, err := r.Next()
		if err == io.EOF {
			return text.String(), nil
		} else if err != nil {
			return "", err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		kind, ok := types[h.Typeflag]
		if !ok {
			return "", fmt.Errorf("unhandled tar header type %d", h.Typeflag)
		}
		if v := h.PAXRecords["GNU.sparse.major"] + "." + h.PAXRecords["GNU.sparse.minor"]; !versions[v] {
			return "", errVersion
		}
		if strings.Contains(h.Name, "\x00") {
			return "", fmt.Errorf("invalid argument") // by the kernel
		}
		fmt.Fprintf(&text, "%d %s", kind, h.Name)
		if kind == 1 || kind == 2 {
			fmt.Fprintf(&text, " -> %s", h.Linkname)
		}
		fmt.Fprintf(&text, " 0%o %d:%d", h.Mode&07777, h.Uid, h.Gid)
		fmt.Fprintf(&text, " %d.%09d", h.ModTime.Unix(), h.ModTime.Nanosecond())
		if kind == 3 || kind == 4 {
			fmt.Fprintf(&text, " %d,%d", h.Devmajor, h.Devminor)
		}
		if kind == 0 && h.Size <= readMax {
			content, err := io.ReadAll(r)
			if err != nil {
				return "", err
			}
			if len(content) > showMax {
				content = content[:showMax]
			}
			fmt.Fprintf(&text, " %s", bytes.ReplaceAll(content, []byte{0}, []byte(".")))
		}
		names := []string{}
		for name := range h.Xattrs {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			fmt.Fprintf(&text, " %s=%s", name, h.Xattrs[name])
		}
		text.WriteString("\n")
	}
}

func verdict(archive []byte, ours, refusal string) string {
	theirs, err := list(archive)
	switch {
	case err == errVersion:
		return "not judged"
	case err != nil && refusal != "":
		return "both refuse"
	case err != nil:
		return "Go alone refuses"
	case refusal == "" && ours == theirs:
		return "the same"
	case refusal == "":
		return fmt.Sprintf("differ: %q, not %q", ours, theirs)
	}
	for _, reason := range known {
		if strings.Contains(refusal, reason) {
			return "refused for a known reason"
		}
	}
	return fmt.Sprintf("refused: %s: %q", refusal, theirs)
}

func get(r io.Reader) ([]byte, error) {
	var size uint32
	if err := binary.Read(r, binary.LittleEndian, &size); err != nil {
		return nil, err
	}
	data := make([]byte, size)
	_, err := io.ReadFull(r, data)
	return data, err
}

func main() {
	file, err := os.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	r := bufio.NewReader(file)
	count := map[string]int{}
	for i := 0; ; i++ {
		archive, err := get(r)
		if err == io.EOF {
			break
		}
		ours, err1 := get(r)
		refusal, err2 := get(r)
		if err != nil || err1 != nil || err2 != nil {
			panic("the file is cut off")
		}
		said := verdict(archive, string(ours), string(refusal))
		kind := strings.SplitN(said, ":", 2)[0]
		if count[kind]++; count[kind] == 1 && kind != said {
			fmt.Printf("tar %d: %s\n", i, said)
			os.WriteFile(os.Args[1]+"."+kind, archive, 0o666)
		}
	}
	for kind, n := range count {
		fmt.Printf("%s: %d\n", kind, n)
	}
}
