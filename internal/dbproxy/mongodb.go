package dbproxy

import (
	"net/url"
	"strings"

	"tshx/internal/tlsroute"
)

var mongodb = Engine{
	Protocol:  "mongodb",
	Title:     "MongoDB",
	ALPN:      tlsroute.ALPNMongoDB,
	NeedsName: true,
	Clients: []Client{
		{Program: "mongosh", Install: "npm package mongosh", Args: func(e Endpoint) []string {
			return mongoArgs(e, "--tls", "--tlsCertificateKeyFile", "--tlsCAFile")
		}},
		{Program: "mongo", Install: "npm package mongosh", Args: func(e Endpoint) []string {
			return mongoArgs(e, "--ssl", "--sslPEMKeyFile", "--sslCAFile")
		}},
	},
	URL:     mongoFullURL,
	Env:     func(e Endpoint) []string { return []string{"MONGODB_URI=" + mongoFullURL(e)} },
	Sockets: mongoSocket,
	Speaks:  mongoSpeaks,
	Refuse:  mongoRefuse,
	Ping:    mongoPing,
}

// mongoWait is how long clients look for a server, in milliseconds: long enough
// for the dial behind the local proxy, so that they see why it failed.
const mongoWait = "20000"

// mongoURL is the address without TLS. A client that is told one server asks it
// for the others of its replica set, which it could not reach, unless the
// connection is said to be direct. There is no user in it: the certificate is
// the login.
func mongoURL(e Endpoint) string {
	return "mongodb://" + url.PathEscape(e.Addr()) + "/" + url.PathEscape(e.Name) +
		"?directConnection=true&serverSelectionTimeoutMS=" + mongoWait
}

// mongoFullURL says all that a driver must know.
func mongoFullURL(e Endpoint) string {
	if e.Tunnel {
		return mongoURL(e)
	}
	return mongoURL(e) + "&tls=true&tlsCertificateKeyFile=" + queryPath(e.Files.Cert) + "&tlsCAFile=" + queryPath(e.Files.CA)
}

// mongoSocket knows what drivers tell a path from a host name by.
func mongoSocket(e Endpoint) string {
	switch {
	case !e.Tunnel:
		return "MongoDB clients do no TLS on a unix socket; add --tunnel"
	case !strings.HasSuffix(e.Socket, ".sock"):
		return "MongoDB clients find a unix socket only by a name that ends in .sock"
	}
	return ""
}

// mongoArgs takes the names of the options for TLS. Certificate and key must
// be in one file, which the certificate file of a MongoDB login is.
func mongoArgs(e Endpoint, tls, cert, ca string) []string {
	args := []string{mongoURL(e)}
	if !e.Tunnel {
		args = append(args, tls, cert, e.Files.Cert, ca, e.Files.CA)
	}
	return args
}
