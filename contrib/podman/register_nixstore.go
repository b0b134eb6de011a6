// SPDX-License-Identifier: LGPL-2.1-or-later

//go:build linux
// +build linux

package register

import (
	// register the nixstore graphdriver
	_ "github.com/containers/storage/drivers/nixstore"
)
