// SPDX-License-Identifier: LGPL-2.1-or-later

//go:build linux
// +build linux

package nixstore

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// convertVariable names the setting to nixstore.
const convertVariable = "NIXSTORE_CONVERT"

// puller makes images that this process pulls Nix-backed. A driver sees layers
// alone, and never which of them are an image or what that is called: so it
// starts nixstore, which waits for Podman's list of images to change, and does
// the work when this process is over.
type puller struct {
	home    string
	runroot string
	options *options
	// alive is the end of a pipe that nobody else has: that it is closed tells
	// nixstore that this process is over. nil where nixstore is not there.
	alive   *os.File
	started time.Time  // when it last was
	mutex   sync.Mutex // layers are made at the same time
}

// pullerRest is how long nixstore is not started again after it was: where it
// cannot do its work it is not to be tried for each layer of an image.
var pullerRest = 10 * time.Second

// command is that of nixstore, for the storage that this driver is of.
func (p *puller) command() *exec.Cmd {
	args := []string{
		"convert", "--replace", "--pulled", "--follow",
		"--root", filepath.Dir(p.home), "--runroot", p.runroot, "--storage-driver", driverName,
	}
	for _, option := range p.options.given {
		args = append(args, "--storage-opt", option)
	}
	if self, err := os.Executable(); err == nil && strings.HasPrefix(filepath.Base(self), "podman") {
		args = append(args, "--podman", self)
	}
	return exec.Command(findProgram(p.options.mountProgram), args...)
}

// findProgram gives the nixstore that belongs to a nixstore-mount: beside it in
// a build directory, PREFIX/bin for PREFIX/libexec/nixstore when installed.
func findProgram(mountProgram string) string {
	beside := filepath.Dir(mountProgram)
	for _, dir := range []string{beside, filepath.Join(beside, "..", "..", "bin")} {
		if program, err := exec.LookPath(filepath.Join(dir, "nixstore")); err == nil {
			return program
		}
	}
	return "nixstore"
}

// isWanted says whether anything asks for it, so that nothing is started where
// nothing does. Of a configuration file it is only a guess: nixstore reads it
// itself, and knows which one is to be trusted.
func (p *puller) isWanted() bool {
	if p.options.convert != "" {
		return p.options.convert != "none"
	}
	if value := os.Getenv(convertVariable); value != "" {
		return value != "none"
	}
	files := []string{"/etc/nixstore.conf"}
	if dir, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(dir, "nixstore", "nixstore.conf"))
	}
	for _, file := range files {
		if mentionsConvert(file) {
			return true
		}
	}
	return false
}

func mentionsConvert(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if strings.HasPrefix(strings.TrimSpace(lines.Text()), "convert") {
			return true
		}
	}
	return false
}

// start starts nixstore, which ends by itself. That it cannot be started is no
// reason not to pull.
func (p *puller) start() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.alive != nil || time.Since(p.started) < pullerRest || !p.isWanted() {
		return
	}
	p.started = time.Now()
	if err := p.run(); err != nil {
		logrus.Warnf("nixstore: what is pulled stays as it is: %v", err)
	}
}

func (p *puller) run() error {
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	cmd := p.command()
	cmd.Stdin = reader
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if p.options.convert != "" {
		cmd.Env = append(os.Environ(), convertVariable+"="+p.options.convert)
	}
	if err := cmd.Start(); err != nil {
		writer.Close()
		return err
	}
	p.alive = writer
	go p.wait(cmd)
	return nil
}

// wait waits for the end of nixstore, which leaves no zombie in a process that
// goes on. One that has failed, or was killed, is to be replaced; one that ends
// well before this process does was told by its own settings that it is not
// wanted.
func (p *puller) wait(cmd *exec.Cmd) {
	if cmd.Wait() == nil {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.alive.Close()
	p.alive = nil
}
