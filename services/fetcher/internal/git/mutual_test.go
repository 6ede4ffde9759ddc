package git_test

import (
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

func TestMutualTLS(t *testing.T) {
	root := t.TempDir()
	gittest.NewRepo(t, root, "repo").Commit("main", "first", map[string]string{"a": "1"})
	server, cert, key := gittest.ServeMutualTLS(t, root)
	client, _ := newClient(t)
	for reason, c := range map[string]struct {
		data map[string][]byte
		err  string
	}{
		"key pair":                       {map[string][]byte{"ca.crt": server.CA, "tls.crt": cert, "tls.key": key}, ""},
		"legacy names":                   {map[string][]byte{"caFile": server.CA, "certFile": cert, "keyFile": key}, ""},
		"standard names win":             {map[string][]byte{"ca.crt": server.CA, "tls.crt": cert, "tls.key": key, "caFile": []byte("x"), "certFile": []byte("x"), "keyFile": []byte("x")}, ""},
		"no client certificate":          {map[string][]byte{"ca.crt": server.CA}, "certificate required"},
		"a certificate without its key":  {map[string][]byte{"ca.crt": server.CA, "tls.crt": cert}, "tls: failed to find any PEM data"},
		"an authority that is not known": {map[string][]byte{"tls.crt": cert, "tls.key": key}, "x509: "},
	} {
		auth, err := git.ParseAuth(server.URL+"/repo", c.data)
		if err == nil {
			_, _, err = read(t.Context(), client, git.Remote{URL: server.URL + "/repo", Auth: auth}, git.Reference{Branch: "main"})
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", reason, err)
		}
	}
}
