package serve

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// envName returns the environment variable of a flag: s3-endpoint is
// SLUICE_S3_ENDPOINT.
func envName(flag string) string {
	return "SLUICE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// ParseArgs sets the flags of fs from the command line and, where that is
// silent, from the environment; what neither names keeps its default. Positional
// arguments are an error. A request for help returns pflag.ErrHelp.
func ParseArgs(fs *pflag.FlagSet, args []string) error {
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	return ApplyEnv(fs, os.LookupEnv)
}

// ApplyEnv sets every flag that the command line left alone from its
// environment variable. It is for programs that parse with cobra. An empty
// variable counts as set. Errors name the variable, not the value.
func ApplyEnv(fs *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var errs []error
	fs.VisitAll(func(f *pflag.Flag) {
		value, ok := lookup(envName(f.Name))
		if !ok || f.Changed || f.Name == "help" {
			return
		}
		if err := fs.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s is not a valid %s", envName(f.Name), f.Value.Type()))
		}
	})
	return errors.Join(errs...)
}

// Markdown returns a table of the flags of fs, their variables, defaults and
// meaning. Keep it in a file, and compare the two in a test.
func Markdown(fs *pflag.FlagSet) string {
	var b strings.Builder
	b.WriteString("| flag | environment | default | meaning |\n|---|---|---|---|\n")
	fs.VisitAll(func(f *pflag.Flag) {
		fmt.Fprintf(&b, "| `--%s` | `%s` | %s | %s |\n", f.Name, envName(f.Name), code(f.DefValue), f.Usage)
	})
	return b.String()
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
