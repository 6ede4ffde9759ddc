package gitserver

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSHServer serves the repositories of a store over SSH to the holder of one key.
type SSHServer struct {
	// Address is ssh://git@127.0.0.1:<port>.
	Address string
	// ClientKey is the private key, in OpenSSH's PEM form, that the server lets in.
	ClientKey []byte
	// ClientPublicKey is its public half as an authorized_keys line.
	ClientPublicKey []byte
	// KnownHosts is the server's known_hosts line.
	KnownHosts []byte

	store    *Store
	config   *ssh.ServerConfig
	listener net.Listener
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// ServeSSH starts a server, with a new host key and client key, for the store's
// repositories, present and future. It ends with ctx or by Close.
func (s *Store) ServeSSH(ctx context.Context) (*SSHServer, error) {
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make host key: %w", err)
	}
	host, err := ssh.NewSignerFromKey(hostKey)
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	server := &SSHServer{store: s}
	client, err := server.newClientKey()
	if err != nil {
		return nil, err
	}
	server.config = &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, offered ssh.PublicKey) (*ssh.Permissions, error) {
			if !same(string(offered.Marshal()), string(client.Marshal())) {
				return nil, errors.New("unknown key")
			}
			return &ssh.Permissions{}, nil
		},
	}
	server.config.AddHostKey(host)
	if server.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("listen for Git over SSH: %w", err)
	}
	address := server.listener.Addr().String()
	server.Address = "ssh://git@" + address
	server.KnownHosts = []byte(knownhosts.Line([]string{address}, host.PublicKey()) + "\n")
	ctx, server.cancel = context.WithCancel(ctx)
	context.AfterFunc(ctx, func() { server.listener.Close() })
	server.running.Go(func() { server.accept(ctx) })
	return server, nil
}

// URL returns the address of a repository.
func (s *SSHServer) URL(r *Repo) string { return s.Address + "/" + r.Name + ".git" }

// Close stops the server and every session of it. The store stays.
func (s *SSHServer) Close() error {
	s.cancel()
	s.running.Wait()
	return nil
}

func (s *SSHServer) newClientKey() (ssh.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make client key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, fmt.Errorf("encode client key: %w", err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("read client key: %w", err)
	}
	s.ClientKey = pem.EncodeToMemory(block)
	s.ClientPublicKey = ssh.MarshalAuthorizedKey(key)
	return key, nil
}

// accept serves connections until the listener is closed.
func (s *SSHServer) accept(ctx context.Context) {
	for {
		raw, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.running.Go(func() {
			stop := context.AfterFunc(ctx, func() { raw.Close() })
			defer stop()
			defer raw.Close()
			s.converse(ctx, raw)
		})
	}
}

// converse serves one connection. A client that fails to log in sees why itself.
func (s *SSHServer) converse(ctx context.Context, raw net.Conn) {
	connection, channels, requests, err := ssh.NewServerConn(raw, s.config)
	if err != nil {
		return
	}
	defer connection.Close()
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		if offered.ChannelType() != "session" {
			if offered.Reject(ssh.UnknownChannelType, "only sessions are served") != nil {
				return
			}
			continue
		}
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		s.running.Go(func() { s.session(ctx, channel, requests) })
	}
}
