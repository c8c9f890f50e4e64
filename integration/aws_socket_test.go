//go:build linux

package integration

import (
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gorilla/websocket"
)

// awsSocketService is a service of AWS whose requests become WebSockets.
const awsSocketService = "transcribe"

// awsSocket stands in its place: it echoes to who signs with the account's key.
var awsSocket = share(func() (*httptest.Server, error) {
	a, err := amazon.load()
	if err != nil {
		return nil, err
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+a.AccessKeyID+"/") {
			http.Error(w, "signed by nobody I know", http.StatusForbidden)
			return
		}
		serveEchoSocket(w, r)
	}))
	atExit(s.Close)
	return s, nil
})

// serveEchoSocket sends back each message of a WebSocket.
func serveEchoSocket(w http.ResponseWriter, r *http.Request) {
	c, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		kind, m, err := c.ReadMessage()
		if err != nil || c.WriteMessage(kind, m) != nil {
			return
		}
	}
}
