package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
)

// addressFlags are the settings that name an address to listen on.
var addressFlags = []string{"nats-addr", "s3-addr", "webhook-addr", "artifact-addr", "probe-addr"}

// checkAddresses reports the addresses that cannot be listened on, before anything is
// started: each part would find out by itself, but late and in its own words.
func checkAddresses(ctx context.Context, flags *pflag.FlagSet) error {
	var errs []error
	taken := map[string]string{}
	for _, name := range addressFlags {
		address := flags.Lookup(name).Value.String()
		if address == "" {
			continue
		}
		if other, twice := taken[address]; twice && !strings.HasSuffix(address, ":0") {
			errs = append(errs, fmt.Errorf("%s and %s are both %s: choose another address for one of them", other, name, address))
			continue
		}
		taken[address] = name
		var config net.ListenConfig
		listener, err := config.Listen(ctx, "tcp", address)
		if err == nil {
			err = listener.Close()
		}
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			errs = append(errs, fmt.Errorf("%s %s is in use by another process: stop that, or choose another address with --%s", name, address, name))
		case err != nil:
			errs = append(errs, fmt.Errorf("%s %s: %w; choose another address with --%s", name, address, err, name))
		}
	}
	return errors.Join(errs...)
}
