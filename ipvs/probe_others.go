//go:build !linux

package ipvs

import "github.com/mdlayher/genetlink"

func dialScratch() (*genetlink.Conn, error) { return nil, errPlatform }
