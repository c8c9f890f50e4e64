//go:build linux

package integration

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// The bulk service checks that a connection carries many bytes in both
// directions at once, loses none, invents none, and half-closes. The client
// sends how many bytes it wants (8 bytes, big-endian), then as many of its own
// as it likes, and half-closes; meanwhile the server sends the wanted bytes.
// When both are done the server sends the SHA-256 of what it has received, and
// closes.

func serveBulk(c *net.TCPConn) error {
	var want [8]byte
	if _, err := io.ReadFull(c, want[:]); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := sendNoise(c, int64(binary.BigEndian.Uint64(want[:])))
		sent <- err
	}()
	received := sha256.New()
	_, err := io.Copy(received, c)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	_, err = c.Write(received.Sum(nil))
	return err
}

// bulk moves size bytes up and size bytes down at once through the TCP
// connection c to the service, and compares checksums.
func bulk(c net.Conn, up, down int64) error {
	var want [8]byte
	binary.BigEndian.PutUint64(want[:], uint64(down))
	if _, err := c.Write(want[:]); err != nil {
		return err
	}
	var sent hash.Hash
	var sendErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		sent, sendErr = sendNoise(c, up)
		if cw, ok := c.(interface{ CloseWrite() error }); ok && sendErr == nil {
			sendErr = cw.CloseWrite()
		}
	})
	got := sha256.New()
	n, err := io.CopyN(got, c, down)
	if err != nil {
		c.Close()
		wg.Wait()
		return fmt.Errorf("received %d of %d bytes: %w", n, down, errors.Join(err, sendErr))
	}
	wg.Wait()
	if sendErr != nil {
		return fmt.Errorf("send: %w", sendErr)
	}
	theirs, err := io.ReadAll(c)
	if err != nil {
		return fmt.Errorf("after the last byte: %w", err)
	}
	if string(theirs) != string(sent.Sum(nil)) {
		return fmt.Errorf("%d bytes sent arrived changed: checksum %x, want %x", up, theirs, sent.Sum(nil))
	}
	expected, _ := sendNoise(io.Discard, down)
	if string(got.Sum(nil)) != string(expected.Sum(nil)) {
		return fmt.Errorf("%d bytes received are not those that were sent", down)
	}
	return nil
}

// sendNoise writes n bytes that do not repeat and are the same each time, and
// returns their hash.
func sendNoise(w io.Writer, n int64) (hash.Hash, error) {
	sum := sha256.New()
	noise := rand.NewChaCha8([32]byte{1})
	_, err := io.CopyBuffer(io.MultiWriter(w, sum), io.LimitReader(noise, n), make([]byte, 64<<10))
	return sum, err
}

// TestBulkService checks the checker, without tshx.
func TestBulkService(t *testing.T) {
	for _, size := range []int64{0, 1, 3 << 20} {
		c := dial(t, services["bulk"].get(t).addr)
		if err := bulk(c, size, size/2); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		c.Close()
	}
}
