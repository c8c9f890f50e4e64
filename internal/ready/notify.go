package ready

import (
	"errors"
	"net"
	"strings"
	"time"
)

// EnvNotify is the environment variable that names the service manager's
// socket.
const EnvNotify = "NOTIFY_SOCKET"

// notifyTimeout bounds the wait for a service manager that does not read what it
// is sent.
const notifyTimeout = time.Second

// Notify sends state, lines of KEY=value such as READY=1, to the service
// manager behind socket, the value of EnvNotify (sd_notify(3)): a path, or a name
// after an @ for an abstract socket. An empty one is nobody, and no error.
func Notify(socket, state string) error {
	if socket == "" {
		return nil
	}
	if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") {
		return errors.New(EnvNotify + "=" + socket + ": neither a path nor an abstract socket")
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetWriteDeadline(time.Now().Add(notifyTimeout))
	_, err = c.Write([]byte(state))
	return err
}
