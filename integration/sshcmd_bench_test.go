//go:build linux

package integration

import "testing"

// BenchmarkSSHCommand measures one command on a node: `tshx ssh` beside OpenSSH
// with what `tshx config` prints. The figures are compared by people.
func BenchmarkSSHCommand(b *testing.B) {
	need(b, "ssh", "sshd")
	for _, tt := range sshWays {
		s := newSSHSide(b, tt)
		for _, bb := range []struct {
			name string
			argv []string
		}{
			{"ssh", []string{"ssh", "-F", sshConfig(b, s.transport), sshTarget(s.transport), "true"}},
			{"tshx ssh", s.argv("ssh", "node1", "true")},
			{"tshx ssh -G", s.argv("ssh", "-G", "node1")}, // its own part, and reading the configuration
			{"ssh -G", []string{"ssh", "-F", s.config, "-G", "node1"}},
		} {
			b.Run(tt.name+"/"+bb.name, func(b *testing.B) {
				execute(b, s.o, bb.argv...) // the first run may also have to test the proxy
				b.ResetTimer()
				for b.Loop() {
					if err := spawned(b, s.o, bb.argv).Wait(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
