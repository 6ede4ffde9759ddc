package fetcher_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/cloudtest"
	"github.com/sluice-gitops/sluice/test/pki"
)

// internet is what lies beyond the servers of the tests: names of cloud providers lead
// to it, by the proxy of the environment.
var internet *cloudtest.Cloud

// What the pod and the machine of the fetcher say of who it is.
const (
	ownAWSToken, ownAWSRole = "token-of-the-pod-for-aws", "arn:aws:iam::" + cloudtest.AWSAccount + ":role/fetcher"
	ownAzureToken           = "token-of-the-pod-for-azure"
)

func TestMain(m *testing.M) {
	code, err := inTheCloud(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// inTheCloud runs the tests in an environment such as cloud providers give to a pod.
func inTheCloud(m *testing.M) (code int, err error) {
	authority, err := pki.NewAuthority("clouds of the tests")
	if err != nil {
		return 0, err
	}
	server, err := authority.Server(cloudtest.Names()...)
	if err != nil {
		return 0, err
	}
	pair, err := tls.X509KeyPair(server.Certificate, server.Key)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "fetcher-test-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a folder for temporary files
	internet = cloudtest.Start(pair)
	defer internet.Close()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if failed := os.WriteFile(path, []byte(content), 0o600); failed != nil {
			err = failed
		}
		return path
	}
	for _, setting := range os.Environ() {
		name, _, _ := strings.Cut(setting, "=")
		if kind, _, _ := strings.Cut(name, "_"); slices.Contains([]string{"AWS", "AZURE", "GOOGLE", "GCE"}, kind) {
			if failed := os.Unsetenv(name); failed != nil {
				return 0, failed
			}
		}
	}
	for name, value := range map[string]string{
		"SSL_CERT_FILE": file("ca.crt", string(authority.Certificate)), "HTTPS_PROXY": internet.Proxy, "NO_PROXY": "localhost",
		"AWS_REGION": cloudtest.AWSRegion, "AWS_ROLE_ARN": ownAWSRole, "AWS_WEB_IDENTITY_TOKEN_FILE": file("aws", ownAWSToken),
		"AZURE_CLIENT_ID": cloudtest.AzureOwnClient, "AZURE_TENANT_ID": cloudtest.AzureTenant, "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
		"AZURE_FEDERATED_TOKEN_FILE": file("azure", ownAzureToken), "GCE_METADATA_HOST": internet.Metadata,
		"IDENTITY_ENDPOINT": "http://" + internet.Metadata + "/msi/token", "IDENTITY_HEADER": "header-of-the-machine",
	} {
		if failed := os.Setenv(name, value); failed != nil {
			return 0, failed
		}
	}
	if err != nil {
		return 0, err
	}
	return m.Run(), nil
}
