package dbproxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Bounds of a command that is read only to be refused; those of servers are
// wider (proto-max-bulk-len and the like).
const (
	redisWords = 1 << 20   // words of a command
	redisWord  = 512 << 20 // bytes of a word
	redisLine  = 64 << 10  // bytes of a line, as in servers
)

// redisSpeaks knows a command by its framing: a star and how many words follow
// (Redis serialization protocol, "Arrays"). An inline command counts too: a whole
// printable line that begins with a word, by which people, probes and scripts
// try a server with no client at hand. Servers skip empty lines.
func redisSpeaks(first []byte) bool {
	first = bytes.TrimLeft(first, "\r\n")
	if len(first) > 1 && first[0] == '*' {
		return '0' <= first[1] && first[1] <= '9'
	}
	line, _, ended := bytes.Cut(first, []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	word := bytes.TrimLeftFunc(line, func(r rune) bool {
		return r == '.' || r == '_' || '0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z'
	})
	control := bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
	return ended && len(word) < len(line) && (len(word) == 0 || word[0] == ' ') && !control &&
		!bytes.Contains(line, []byte(" HTTP/"))
}

// redisRefuse answers every command with the error, until the client leaves:
// what a program shows is the answer to its own command, and libraries send
// some of theirs before it.
func redisRefuse(client net.Conn, r Refusal) error {
	word := "-ERR "
	if r.Login {
		word = "-NOAUTH "
	}
	answer := []byte(word + asciiLine(r.Text) + "\r\n")
	in := bufio.NewReaderSize(client, redisLine)
	for {
		err := redisSkip(in)
		if err == io.EOF || err != nil && isTimeout(err) {
			return nil
		}
		if _, werr := client.Write(answer); werr != nil || err != nil {
			return fmt.Errorf("refuse a Redis client: %w", errors.Join(err, werr))
		}
	}
}

// errNotRedis says that bytes are no command.
var errNotRedis = errors.New("not the Redis protocol")

// redisSkip reads one command. It returns io.EOF where there is no further one.
func redisSkip(in *bufio.Reader) error {
	line, err := redisReadLine(in)
	if err != nil {
		return err
	}
	if len(line) == 0 || line[0] != '*' { // an inline command
		return nil
	}
	words, err := redisCount(line, redisWords)
	for range words {
		if line, err = redisReadLine(in); err != nil {
			break
		}
		if line == "" || line[0] != '$' {
			return errNotRedis
		}
		var n int
		if n, err = redisCount(line, redisWord); err != nil {
			break
		}
		if _, err = in.Discard(n + len("\r\n")); err != nil {
			break
		}
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// redisReadLine returns a line without its end. It is io.EOF only before the
// first byte.
func redisReadLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", errNotRedis
	case err == io.EOF && len(line) > 0:
		return "", io.ErrUnexpectedEOF
	}
	return strings.TrimRight(string(line), "\r\n"), err
}

// redisCount reads the number behind the type byte of a line. Less than nothing
// is nothing.
func redisCount(line string, most int) (int, error) {
	n, err := strconv.Atoi(line[1:])
	if err != nil || n > most {
		return 0, errNotRedis
	}
	return max(n, 0), nil
}

// redisPing needs a login for nothing but the version, which servers with a
// password keep to themselves.
func redisPing(_ context.Context, c net.Conn, _ Endpoint) (Pong, error) {
	in := bufio.NewReaderSize(io.LimitReader(c, 1<<20), redisLine)
	start := time.Now()
	answer, err := redisAsk(c, in, "PING")
	pong := Pong{RoundTrip: time.Since(start)}
	if err != nil {
		return Pong{}, err
	}
	if code, text, ok := redisErrorOf(answer); ok {
		if code == "NOAUTH" {
			pong.Note = "the server wants a password"
			return pong, nil
		}
		return Pong{}, &ServerError{Code: code, Text: text}
	}
	if answer != "+PONG" {
		return Pong{}, errNotRedis
	}
	info, err := redisAsk(c, in, "INFO", "server")
	if err != nil {
		return Pong{}, err
	}
	if _, text, ok := redisErrorOf(info); ok { // the user may not
		pong.Note = "the server does not tell its version: " + text
		return pong, nil
	}
	pong.Version = redisVersion(info)
	return pong, nil
}

// redisAsk sends one command and returns the answer: a line with its type byte,
// or a string.
func redisAsk(c net.Conn, in *bufio.Reader, words ...string) (string, error) {
	command := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		command = fmt.Appendf(command, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := c.Write(command); err != nil {
		return "", fmt.Errorf("write to the server: %w", err)
	}
	line, err := redisReadLine(in)
	if err != nil {
		return "", fmt.Errorf("read from the server: %w", err)
	}
	if line == "" {
		return "", errNotRedis
	}
	if line[0] != '$' {
		return line, nil
	}
	n, err := redisCount(line, 1<<20)
	if err != nil {
		return "", err
	}
	text := make([]byte, n+len("\r\n"))
	if _, err := io.ReadFull(in, text); err != nil {
		return "", fmt.Errorf("read from the server: %w", err)
	}
	return string(text[:n]), nil
}

// redisErrorOf takes an error apart into its first word and the rest.
func redisErrorOf(answer string) (code, text string, ok bool) {
	if !strings.HasPrefix(answer, "-") {
		return "", "", false
	}
	code, text, _ = strings.Cut(answer[1:], " ")
	return code, text, true
}

// redisVersion finds the version in the answer to INFO. Valkey and others tell
// the Redis they stand in for, and their own.
func redisVersion(info string) string {
	version := ""
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "redis_version":
			if version == "" {
				version = value
			}
		case "valkey_version":
			version = "Valkey " + value
		}
	}
	return version
}
