package cloudtest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/test/pki"
)

// What the pod and the machine say of who runs on them.
const (
	OwnAWSToken   = "token-of-the-pod-for-aws"
	OwnAWSRole    = "arn:aws:iam::" + AWSAccount + ":role/own"
	OwnAzureToken = "token-of-the-pod-for-azure"
)

// Main runs the tests of a package in an environment such as the three providers give to a
// pod, and returns the code to exit with: names of theirs lead to the cloud, by the proxy of
// the environment, and the variables that their libraries read say who the process is. It is
// what a TestMain calls; begin gets the cloud before the first test.
func Main(m *testing.M, begin func(*Cloud)) int {
	code, err := inPod(func(c *Cloud) int {
		begin(c)
		return m.Run()
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func inPod(run func(*Cloud) int) (code int, err error) {
	authority, err := pki.NewAuthority("clouds of the tests")
	if err != nil {
		return 0, err
	}
	server, err := authority.Server(Names()...)
	if err != nil {
		return 0, err
	}
	pair, err := tls.X509KeyPair(server.Certificate, server.Key)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "cloudtest-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cloud := Start(pair)
	defer cloud.Close()
	if err := environ(dir, cloud, string(authority.Certificate)); err != nil {
		return 0, err
	}
	return run(cloud), nil
}

func environ(dir string, cloud *Cloud, authority string) error {
	for _, setting := range os.Environ() {
		name, _, _ := strings.Cut(setting, "=")
		if kind, _, _ := strings.Cut(name, "_"); slices.Contains([]string{"AWS", "AZURE", "GOOGLE", "GCE"}, kind) {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	for name, value := range map[string]string{
		"HTTPS_PROXY": cloud.Proxy, "NO_PROXY": "localhost", "AWS_REGION": AWSRegion, "AWS_ROLE_ARN": OwnAWSRole,
		"AZURE_CLIENT_ID": AzureOwnClient, "AZURE_TENANT_ID": AzureTenant, "AZURE_AUTHORITY_HOST": "https://" + loginHost + "/",
		"GCE_METADATA_HOST": cloud.Metadata, "IDENTITY_ENDPOINT": "http://" + cloud.Metadata + "/msi/token", "IDENTITY_HEADER": "header-of-the-machine",
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{
		"SSL_CERT_FILE": authority, "AWS_WEB_IDENTITY_TOKEN_FILE": OwnAWSToken, "AZURE_FEDERATED_TOKEN_FILE": OwnAzureToken,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
		if err := os.Setenv(name, path); err != nil {
			return err
		}
	}
	return nil
}
