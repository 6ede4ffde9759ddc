package serve_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/serve"
)

func bound() (*serve.Settings, *pflag.FlagSet) {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	fs.SetOutput(&strings.Builder{})
	s := &serve.Settings{}
	s.Bind(fs)
	return s, fs
}

func TestFlagOverEnvironmentOverDefault(t *testing.T) {
	t.Setenv("SLUICE_CLUSTER_NAME", "from-env")
	t.Setenv("SLUICE_S3_BUCKET", "from-env")
	t.Setenv("SLUICE_S3_TLS", "true")
	t.Setenv("SLUICE_CONCURRENCY", "3")
	s, fs := bound()
	if err := serve.ParseArgs(fs, []string{"--cluster-name=from-flag"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Errorf("validate: %v", err)
	}
	got := []any{s.ClusterName, s.S3.Bucket, s.S3.TLS, s.Concurrency, s.RuntimeNamespace}
	if diff := cmp.Diff([]any{"from-flag", "from-env", true, 3, "sluice-system"}, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if err := blob.Config(s.S3).Validate(); err != nil {
		t.Errorf("the defaults do not open a bucket: %v", err)
	}
}

func TestParseErrors(t *testing.T) {
	t.Setenv("SLUICE_CONCURRENCY", "s3cr3t")
	_, fs := bound()
	err := serve.ParseArgs(fs, nil)
	if err == nil || !strings.Contains(err.Error(), "SLUICE_CONCURRENCY") || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("error %v must name the variable and hide the value", err)
	}
	for _, args := range [][]string{{"--nope"}, {"stray"}, {"--concurrency=x"}} {
		_, fs := bound()
		if err := serve.ParseArgs(fs, args); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	file, none := filepath.Join(dir, "secret"), filepath.Join(dir, "none")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(none, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, fs := bound()
	if err := serve.ParseArgs(fs, []string{"--nats-password-file", file, "--s3-secret-key-file", file}); err != nil {
		t.Fatal(err)
	}
	if err := s.Load(); err != nil || s.NATS.Password != "hunter2" || s.S3.SecretKey != "hunter2" {
		t.Errorf("load: %q, %q, error %v", s.NATS.Password, s.S3.SecretKey, err)
	}
	for why, args := range map[string][]string{
		"both":    {"--nats-password=x", "--nats-password-file=" + file},
		"missing": {"--s3-secret-key-file=" + file + "x"},
		"empty":   {"--s3-secret-key-file=" + none},
	} {
		s, fs := bound()
		if err := serve.ParseArgs(fs, args); err != nil {
			t.Fatal(err)
		}
		if err := s.Load(); err == nil {
			t.Errorf("%s was accepted", why)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	for why, args := range map[string][]string{
		"a cluster name with a dot":  {"--cluster-name=a.b"},
		"no cluster name":            {"--cluster-name="},
		"no namespace":               {"--runtime-namespace="},
		"no workers":                 {"--concurrency=0"},
		"an unknown level":           {"--log-level=loud"},
		"two ways to authenticate":   {"--nats-user=u", "--nats-creds=f"},
		"no time to finish the work": {"--grace=0s"},
	} {
		s, fs := bound()
		if err := serve.ParseArgs(fs, args); err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(); err == nil {
			t.Errorf("%s was accepted", why)
		}
	}
}
