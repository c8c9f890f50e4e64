package sshproxy_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"log"
	"os"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"tshx/internal/proxyserver"
	"tshx/internal/sshproxy"
)

// withAgent runs use with the agent that the client forwards.
func withAgent(t *testing.T, o sshproxy.Options, use func(agent.ExtendedAgent)) {
	t.Helper()
	done := make(chan struct{})
	f := &fake{session: func(s *fakeSession) {
		defer close(done)
		if !slices.Equal(s.before, []string{"auth-agent-req@openssh.com"}) {
			t.Errorf("requests before the subsystem: %q", s.before)
		}
		// Recording proxies use the agent before they answer.
		ch, reqs, err := s.conn.OpenChannel("auth-agent@openssh.com", nil)
		if err != nil {
			t.Error(err)
			return
		}
		go ssh.DiscardRequests(reqs)
		use(agent.NewClient(ch))
		ch.Close()
		s.request.Reply(true, nil)
	}}
	s, err := sshproxy.Open(t.Context(), f.connect(t), o)
	if err != nil {
		t.Fatal(err)
	}
	<-done
	s.Close()
}

// The forwarded agent has the one certificate and signs with it, by the hash
// that is asked for.
func TestAgent(t *testing.T) {
	for _, tt := range []struct {
		alg     proxyserver.Algorithm
		formats map[agent.SignatureFlags]string
	}{
		{proxyserver.RSA, map[agent.SignatureFlags]string{
			0: ssh.KeyAlgoRSA, agent.SignatureFlagRsaSha256: ssh.KeyAlgoRSASHA256, agent.SignatureFlagRsaSha512: ssh.KeyAlgoRSASHA512,
		}},
		{proxyserver.ECDSA, map[agent.SignatureFlags]string{
			0: ssh.KeyAlgoECDSA256, agent.SignatureFlagRsaSha256: ssh.KeyAlgoECDSA256,
		}},
		{proxyserver.Ed25519, map[agent.SignatureFlags]string{
			0: ssh.KeyAlgoED25519, agent.SignatureFlagRsaSha512: ssh.KeyAlgoED25519,
		}},
	} {
		t.Run(string(tt.alg), func(t *testing.T) {
			o := options(t)
			o.Signer = signer(t, newKey(t, tt.alg))
			withAgent(t, o, func(a agent.ExtendedAgent) {
				keys, err := a.List()
				if err != nil || len(keys) != 1 || !bytes.Equal(keys[0].Blob, o.Signer.PublicKey().Marshal()) {
					t.Errorf("the agent lists %v, %v", keys, err)
					return
				}
				data := make([]byte, 100)
				rand.Read(data)
				for flags, format := range tt.formats {
					sig, err := a.SignWithFlags(keys[0], data, flags)
					if err != nil {
						t.Errorf("flags %d: %v", flags, err)
						continue
					}
					if sig.Format != format {
						t.Errorf("flags %d: signature of kind %s", flags, sig.Format)
					}
					if err := o.Signer.PublicKey().Verify(data, sig); err != nil {
						t.Errorf("flags %d: %v", flags, err)
					}
				}
			})
		})
	}
}

func TestAgentOnlySigns(t *testing.T) {
	key := newKey(t, proxyserver.ECDSA)
	plain, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	log.SetOutput(io.Discard) // x/crypto/ssh/agent tells it what an agent refuses
	defer log.SetOutput(os.Stderr)
	o := options(t)
	withAgent(t, o, func(a agent.ExtendedAgent) {
		for what, err := range map[string]error{
			"add":        a.Add(agent.AddedKey{PrivateKey: key}),
			"remove":     a.Remove(o.Signer.PublicKey()),
			"remove all": a.RemoveAll(),
			"lock":       a.Lock([]byte("x")),
			"unlock":     a.Unlock([]byte("x")),
		} {
			if err == nil {
				t.Errorf("the agent took part in: %s", what)
			}
		}
		if _, err := a.Sign(plain, []byte("data")); err == nil {
			t.Error("signed with a key that it does not have")
		}
		if _, err := a.Extension("x@example.com", nil); err == nil {
			t.Error("an unknown extension succeeded")
		}
		if keys, err := a.List(); err != nil || len(keys) != 1 {
			t.Errorf("afterwards the agent lists %v, %v", keys, err)
		}
	})
}

// RSA certificates, which v14 has throughout, log in without SHA-1: servers
// that refuse ssh-rsa take them.
func TestRSAWithoutSHA1(t *testing.T) {
	for _, alg := range []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512} {
		t.Run(alg, func(t *testing.T) {
			f := &fake{host: rsaHost(t, alg), session: func(s *fakeSession) { s.request.Reply(true, nil) }}
			f.config.PublicKeyAuthAlgorithms = []string{alg}
			f.config.PublicKeyCallback = func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
				if key.Type() != ssh.CertAlgoRSAv01 {
					t.Errorf("key of type %s", key.Type())
				}
				return nil, nil
			}
			o := options(t)
			o.Signer = signer(t, rsaKey())
			s, err := sshproxy.Open(t.Context(), f.connect(t), o)
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
		})
	}
}

// rsaHost is a host certificate that signs with one algorithm only.
func rsaHost(t *testing.T, alg string) ssh.Signer {
	t.Helper()
	plain, err := ssh.NewSignerFromSigner(rsaKey())
	if err != nil {
		t.Fatal(err)
	}
	only, err := ssh.NewSignerWithAlgorithms(plain.(ssh.AlgorithmSigner), []string{alg})
	if err != nil {
		t.Fatal(err)
	}
	cert := &ssh.Certificate{
		Key: plain.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"localhost"}, ValidBefore: ssh.CertTimeInfinity,
	}
	if err := cert.SignCert(rand.Reader, authority().SSHHost); err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(cert, only)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
