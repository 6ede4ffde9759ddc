package applier_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/sluice-gitops/sluice/test/cloudtest"
)

// internet is what lies beyond the servers of the tests: names of cloud providers lead
// to it, by the proxy of the environment.
var internet *cloudtest.Cloud

func TestMain(m *testing.M) {
	code, err := cloudtest.InPod(func(c *cloudtest.Cloud) int {
		internet = c
		return m.Run()
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
