package fetcher_test

import (
	"os"
	"testing"

	"github.com/sluice-gitops/sluice/test/cloudtest"
)

// internet is what lies beyond the servers of the tests: names of cloud providers lead
// to it, by the proxy of the environment.
var internet *cloudtest.Cloud

func TestMain(m *testing.M) {
	os.Exit(cloudtest.Main(m, func(c *cloudtest.Cloud) { internet = c }))
}
