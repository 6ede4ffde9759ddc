package cluster

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/rest"
)

// Names of service accounts are a tenant's to choose, as many as it likes.
func TestClientsOfAccountsAreBounded(t *testing.T) {
	c, err := New(&rest.Config{Host: "https://127.0.0.1:1"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	as := func(name string) *Client {
		t.Helper()
		client, err := c.As("tenant", name)
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	used := as("used")
	for n := range 2 * maxClients {
		as(fmt.Sprint("account-", n))
		if as("used") != used {
			t.Fatalf("a client that is used all the time was made anew after %d others", n+1)
		}
	}
	if kept := c.clients.Len(); kept != maxClients {
		t.Errorf("%d clients are kept, want %d", kept, maxClients)
	}
}

// What writes much has a connection for each request under way, which HTTP/2 would not give it.
func TestHTTPClient(t *testing.T) {
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.WriteString(w, q.Proto)
	}))
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	client, err := HTTPClient(&rest.Config{Host: front.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Get(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if proto, err := io.ReadAll(answer.Body); string(proto) != "HTTP/1.1" || err != nil {
		t.Errorf("it speaks %s, %v", proto, err)
	}
}
