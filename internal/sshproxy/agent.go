package sshproxy

import (
	"crypto/rand"
	"errors"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// forwardAgent answers the proxy's agent channels with the one key that the
// proxy has seen already. It offers nothing of the user's own agent.
func forwardAgent(client *ssh.Client, signer ssh.Signer) error {
	return agent.ForwardToAgent(client, certAgent{signer})
}

// errReadOnly answers every request of an agent client but listing and signing.
var errReadOnly = errors.New("the forwarded agent only signs")

// certAgent is an ssh-agent (draft-miller-ssh-agent) that holds one signer.
type certAgent struct {
	signer ssh.Signer
}

func (a certAgent) List() ([]*agent.Key, error) {
	k := a.signer.PublicKey()
	return []*agent.Key{{Format: k.Type(), Blob: k.Marshal(), Comment: "tshx"}}, nil
}

func (a certAgent) Sign(key ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	return a.SignWithFlags(key, data, 0)
}

func (a certAgent) SignWithFlags(key ssh.PublicKey, data []byte, flags agent.SignatureFlags) (*ssh.Signature, error) {
	if string(key.Marshal()) != string(a.signer.PublicKey().Marshal()) {
		return nil, errors.New("the forwarded agent does not hold this key")
	}
	alg := ""
	switch t := a.signer.PublicKey().Type(); {
	case t != ssh.CertAlgoRSAv01 && t != ssh.KeyAlgoRSA:
		// The flags choose among the hashes of RSA and mean nothing to others.
	case flags&agent.SignatureFlagRsaSha256 != 0:
		alg = ssh.KeyAlgoRSASHA256
	case flags&agent.SignatureFlagRsaSha512 != 0:
		alg = ssh.KeyAlgoRSASHA512
	}
	if as, ok := a.signer.(ssh.AlgorithmSigner); ok && alg != "" {
		return as.SignWithAlgorithm(rand.Reader, data, alg)
	}
	return a.signer.Sign(rand.Reader, data)
}

func (a certAgent) Signers() ([]ssh.Signer, error) { return []ssh.Signer{a.signer}, nil }

func (certAgent) Add(agent.AddedKey) error                 { return errReadOnly }
func (certAgent) Remove(ssh.PublicKey) error               { return errReadOnly }
func (certAgent) RemoveAll() error                         { return errReadOnly }
func (certAgent) Lock([]byte) error                        { return errReadOnly }
func (certAgent) Unlock([]byte) error                      { return errReadOnly }
func (certAgent) Extension(string, []byte) ([]byte, error) { return nil, agent.ErrExtensionUnsupported }
