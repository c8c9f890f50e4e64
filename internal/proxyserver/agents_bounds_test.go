package proxyserver

import (
	"errors"
	"testing"

	"golang.org/x/crypto/ssh"

	"tshx/internal/reversetunnel"
)

// What an agent may ask for has an end, and what is not known is called that:
// "prohibited" would have real agents give up sessions.
func TestAgentChannels(t *testing.T) {
	f := start(t, Options{})
	signer, err := testAuthority().SSHHostSigner("Node", "h")
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := f.sshAgent("h", signer)
	if err != nil {
		t.Fatal(err)
	}
	var refused *ssh.OpenChannelError
	for _, kind := range []string{"tracing", "session"} {
		if _, _, err := c.OpenChannel(kind, nil); !errors.As(err, &refused) || refused.Reason != ssh.UnknownChannelType {
			t.Errorf("%s: %v", kind, err)
		}
	}
	open := func() (ssh.Channel, error) {
		ch, reqs, err := c.OpenChannel(reversetunnel.ChannelHeartbeat, nil)
		if err == nil {
			go ssh.DiscardRequests(reqs)
		}
		return ch, err
	}
	first, err := open()
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; err == nil; n++ {
		if n > 2*heartbeatChannels {
			t.Fatalf("%d heartbeat channels", n)
		}
		_, err = open()
	}
	if !errors.As(err, &refused) || refused.Reason != ssh.ResourceShortage {
		t.Error(err)
	}
	first.Close()
	for { // until the end of that one is seen
		if _, err := open(); err == nil {
			break
		} else if !errors.As(err, &refused) {
			t.Fatal(err)
		}
	}
}
