//go:build !linux

package ipvs

func dial(*Config) (*Client, error) { return nil, errPlatform }
