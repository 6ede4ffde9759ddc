package blob_test

import (
	"os"
	"testing"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/blob/blobtest"
	"github.com/sluice-gitops/sluice/internal/s3server"
)

// TestStore runs the contract against the embedded server, and against another
// service if SLUICE_TEST_S3_ENDPOINT names one (with SLUICE_TEST_S3_ACCESS_KEY
// and SLUICE_TEST_S3_SECRET_KEY).
func TestStore(t *testing.T) {
	config := blob.Config{
		Endpoint:  os.Getenv("SLUICE_TEST_S3_ENDPOINT"),
		AccessKey: os.Getenv("SLUICE_TEST_S3_ACCESS_KEY"),
		SecretKey: os.Getenv("SLUICE_TEST_S3_SECRET_KEY"),
		Bucket:    "blobtest",
	}
	if config.Endpoint == "" {
		config = embedded(t)
	}
	blobtest.Suite(t, config)
}

func embedded(t *testing.T) blob.Config {
	t.Helper()
	t.Chdir(t.TempDir()) // the server changes the working directory; this restores it
	server, err := s3server.Start(t.Context(), s3server.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatalf("start server: %v", err)
	}
	t.Cleanup(func() { <-server.Done() })
	e := server.Endpoint()
	return blob.Config{Endpoint: e.Addr, AccessKey: e.AccessKey, SecretKey: e.SecretKey, Region: e.Region, Bucket: "blobtest"}
}
