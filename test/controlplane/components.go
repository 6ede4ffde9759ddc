package controlplane

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// storage is where etcd listens: a socket, so that etcd needs no port.
func (c *ControlPlane) storage() string { return "unix://" + filepath.Join(c.Folder, "etcd.sock") }

func (c *ControlPlane) etcdArgs() []string {
	// A single member talks to nobody: the advertised addresses are never dialled.
	const peer, client = "unix://localhost:2", "unix://localhost:1"
	return []string{
		"--name=controlplane",
		"--data-dir=" + filepath.Join(c.Folder, "etcd"),
		"--listen-client-urls=" + c.storage(),
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=unix://" + filepath.Join(c.Folder, "peer.sock"),
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=controlplane=" + peer,
		"--enable-grpc-gateway=false",
		"--unsafe-no-fsync",
		"--quota-backend-bytes=8589934592",
		"--log-level=warn",
	}
}

func (c *ControlPlane) apiServerArgs(port int) ([]string, error) {
	args := []string{
		"--etcd-servers=" + c.storage(),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--endpoint-reconciler-type=none", // a loopback address is no endpoint for pods
		"--tls-cert-file=" + c.file("server.crt"),
		"--tls-private-key-file=" + c.file("server.key"),
		"--client-ca-file=" + c.file("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.file("service-accounts.pub"),
		"--service-account-signing-key-file=" + c.file("service-accounts.key"),
		"--service-cluster-ip-range=10.96.0.0/12",
		"--authorization-mode=RBAC",
		"--allow-privileged=true",
		// Simulated nodes have no life cycle controller that would take the taint away again.
		"--disable-admission-plugins=" + c.disabledAdmission(),
	}
	if c.options.RequestLog {
		if err := os.WriteFile(c.file("audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
			return nil, fmt.Errorf("write audit policy: %w", err)
		}
		args = append(args,
			"--audit-policy-file="+c.file("audit-policy.yaml"),
			"--audit-log-path="+c.auditLog(),
			"--audit-log-maxsize=10240", // megabytes before it would turn the file over
		)
	}
	return append(args, c.options.APIServerFlags...), nil
}

func (c *ControlPlane) disabledAdmission() string {
	if c.options.NoControllerManager {
		return "TaintNodesByCondition,ServiceAccount"
	}
	return "TaintNodesByCondition"
}

func (c *ControlPlane) controllerManagerArgs() []string {
	return []string{
		"--kubeconfig=" + c.file("controller-manager.kubeconfig"),
		"--controllers=*,-node-lifecycle-controller,-taint-eviction-controller",
		"--service-account-private-key-file=" + c.file("service-accounts.key"),
		"--root-ca-file=" + c.file("ca.crt"),
		"--cluster-signing-cert-file=" + c.file("ca.crt"),
		"--cluster-signing-key-file=" + c.file("ca.key"),
		"--kube-api-qps=1000",
		"--kube-api-burst=1000",
		"--leader-elect=false",
		"--secure-port=0",
	}
}

func (c *ControlPlane) schedulerArgs() []string {
	return []string{
		"--kubeconfig=" + c.file("scheduler.kubeconfig"),
		"--kube-api-qps=1000",
		"--kube-api-burst=1000",
		"--leader-elect=false",
		"--secure-port=0",
	}
}

func (c *ControlPlane) kwokArgs() []string {
	return []string{
		"--kubeconfig=" + c.file("kwok.kubeconfig"),
		"--config=" + c.file("stages.yaml"),
		"--manage-all-nodes=true",
		"--node-ip=127.0.0.1",
		"--node-port=0",
		"--node-lease-duration-seconds=0",
	}
}

func (c *ControlPlane) file(name string) string { return filepath.Join(c.Folder, name) }

// freePort returns a loopback port that was free a moment ago.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		return 0, fmt.Errorf("free port %d: %w", port, err)
	}
	return port, nil
}
