package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/nats-io/nats.go"

	deploynats "github.com/sluice-gitops/sluice/deploy/nats"
	"github.com/sluice-gitops/sluice/internal/natsserver"
	"github.com/sluice-gitops/sluice/internal/s3server"
	"github.com/sluice-gitops/sluice/test/harness"
)

// services are the programs, in the order a revision passes them.
var services = [...]string{"webhook", "fetcher", "builder", "applier"}

// password is what every NATS user of the test has; the server listens on loopback only.
const password = "chaos-only-password"

// ground is what the services stand on and what outlives them.
type ground struct {
	world    *harness.World
	nats     *natsserver.Server
	s3       s3server.Endpoint
	binaries map[string]string
}

// newGround starts a control plane, Git, NATS with one user for each service, and S3.
func newGround(t *testing.T, world *harness.World) *ground {
	t.Helper()
	t.Chdir(".") // and back: the embedded S3 server goes into its own folder, which ends with the test
	g := &ground{world: world, binaries: map[string]string{}}
	for _, name := range services {
		binary, err := harness.Build(t.Context(), "services/"+name+"/cmd", "sluice-"+name)
		if err != nil {
			t.Fatal(err)
		}
		g.binaries[name] = binary
	}
	for _, user := range append(services[:], "audit", "admin") {
		t.Setenv("NATS_"+strings.ToUpper(user)+"_PASSWORD", password)
	}
	folder := filepath.Join(world.Folder, "nats")
	t.Setenv("NATS_STORE_DIR", strconv.Quote(folder))
	// Not the test's own context: that ends before the test's cleanups, which still stop services.
	ctx := context.WithoutCancel(t.Context())
	var err error
	if g.nats, err = natsserver.Start(ctx, natsserver.Config{StoreDir: folder, Port: -1, ConfigText: deploynats.ServerConfig()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.nats.Stop)
	// The last to start: it changes the working folder of this process.
	s3, err := s3server.Start(ctx, s3server.Config{Dir: filepath.Join(world.Folder, "s3")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := s3.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	g.s3 = s3.Endpoint()
	return g
}

// connect connects to NATS as a user.
func (g *ground) connect(t *testing.T, user string) *nats.Conn {
	t.Helper()
	connection, err := nats.Connect(g.nats.URL(), nats.UserInfo(user, password), nats.CustomInboxPrefix("_INBOX_"+user))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(connection.Close)
	return connection
}

// service is one of the four programs; it may run or have been killed.
type service struct {
	name, binary, log, health string
	args                      []string
	process                   *harness.Process
	kills                     int
}

// services starts programs and waits until they are ready. base is the address of webhooks.
func (g *ground) services(t *testing.T, names ...string) (all []*service, base string) {
	t.Helper()
	var ports [6]string
	for i := range ports {
		port, err := harness.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = "127.0.0.1:" + strconv.Itoa(port)
	}
	own := map[string][]string{
		"webhook": {"--webhook-addr", ports[4]},
		"fetcher": {"--artifact-addr", ports[5], "--artifact-adv-addr", ports[5], "--external-artifacts"},
	}
	for i, name := range names {
		s := &service{
			name: name, binary: g.binaries[name], log: filepath.Join(g.world.Folder, name+".log"), health: "http://" + ports[i] + "/readyz",
			args: append([]string{
				"--kubeconfig", g.account(t, name), "--runtime-namespace", harness.SystemNamespace, "--probe-addr", ports[i],
				"--data-dir", filepath.Join(g.world.Folder, name), "--nats-url", g.nats.URL(), "--nats-user", name, "--nats-password", password,
				"--s3-endpoint", g.s3.Addr, "--s3-access-key", g.s3.AccessKey, "--s3-secret-key", g.s3.SecretKey,
			}, own[name]...),
		}
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.end(t) })
		all = append(all, s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, s := range all {
		if err := s.process.WaitReady(ctx, s.health); err != nil {
			t.Fatal(err)
		}
	}
	return all, "http://" + ports[4]
}

// storage is a client of the S3 server that the services use.
func (g *ground) storage(t *testing.T) *minio.Client {
	t.Helper()
	store, err := minio.New(g.s3.Addr, &minio.Options{Creds: credentials.NewStaticV4(g.s3.AccessKey, g.s3.SecretKey, ""), Region: g.s3.Region})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// account returns a kubeconfig of the service account that the service has in a cluster, so
// that it runs with exactly the rights of deploy/kubernetes.
func (g *ground) account(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(g.world.Folder, name+".kubeconfig")
	if err := harness.ActAs(t.Context(), g.world.REST, "sluice-"+name, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *service) start() (err error) {
	s.process, err = harness.StartProcess(s.name, s.binary, s.log, nil, s.args...)
	return err
}

// kill ends the program as a crashing machine would.
func (s *service) kill() error {
	select {
	case <-s.process.Done():
		return fmt.Errorf("%s ended by itself:\n%s", s.name, s.process.Tail())
	default:
	}
	s.process.Kill()
	s.kills++
	return nil
}

// end stops the program at the end of the test and keeps its log if that is wanted.
func (s *service) end(t *testing.T) {
	err := s.process.Stop(30 * time.Second)
	body, readErr := os.ReadFile(s.log)
	err = errors.Join(err, readErr)
	if folder := os.Getenv("CHAOS_KEEP_LOGS"); folder != "" {
		err = errors.Join(err, os.WriteFile(filepath.Join(folder, s.name+".log"), body, 0o600))
	}
	for line := range strings.Lines(string(body)) {
		if strings.Contains(line, "is forbidden") {
			t.Errorf("%s lacks a right: %s", s.name, line)
			break
		}
	}
	if err != nil {
		t.Error(err)
	}
}
