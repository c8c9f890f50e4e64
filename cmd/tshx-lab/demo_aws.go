package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"tshx/internal/lab"
)

const (
	awsApp    = "account"
	awsRegion = "us-east-1"
	awsTime   = "20060102T150405Z"
	awsARN    = "arn:aws:iam::111122223333:role/demo"
)

// standIn is a web service in Amazon's place that knows one call, and only
// answers what is signed with the account's keys.
type standIn struct {
	keys aws.Credentials
	ln   net.Listener
	srv  http.Server
}

func startStandIn() (*standIn, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &standIn{ln: ln, keys: aws.Credentials{AccessKeyID: "AKIA" + rand.Text()[:16], SecretAccessKey: rand.Text()}}
	s.srv.Handler = s
	go s.srv.Serve(ln)
	return s, nil
}

func (s *standIn) Close() { s.srv.Close() }

// app is the account as a lab has it, which has the keys.
func (s *standIn) app() lab.App {
	return lab.App{Name: awsApp, AWSRole: awsARN, AWS: &lab.AWS{
		AccessKeyID: s.keys.AccessKeyID, SecretAccessKey: s.keys.SecretAccessKey, Region: awsRegion,
		Endpoints: map[string]string{"": "http://" + s.ln.Addr().String()},
	}}
}

// identity is the answer to GetCallerIdentity.
type identity struct {
	XMLName xml.Name `xml:"GetCallerIdentityResponse"`
	Arn     string   `xml:"GetCallerIdentityResult>Arn"`
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil {
		err = s.check(r, body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	xml.NewEncoder(w).Encode(identity{Arn: awsARN})
}

// check signs the request once more, by what its signature says of itself.
func (s *standIn) check(r *http.Request, body []byte) error {
	given := r.Header.Get("Authorization")
	_, names, ok := strings.Cut(given, "SignedHeaders=")
	at, err := time.Parse(awsTime, r.Header.Get("X-Amz-Date"))
	if !ok || err != nil {
		return errors.New("the request is not signed")
	}
	names, _, _ = strings.Cut(names, ",")
	again := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: make(http.Header), ContentLength: r.ContentLength}
	for name, values := range r.Header {
		if slices.Contains(strings.Split(names, ";"), strings.ToLower(name)) {
			again.Header[name] = values
		}
	}
	if err := sign(again, body, s.keys, at); err != nil {
		return err
	}
	if again.Header.Get("Authorization") != given {
		return errors.New("the request is not signed with the keys of the account")
	}
	return nil
}

func sign(r *http.Request, body []byte, keys aws.Credentials, at time.Time) error {
	sum := sha256.Sum256(body)
	return v4.NewSigner().SignHTTP(r.Context(), keys, r, hex.EncodeToString(sum[:]), "sts", awsRegion, at)
}

// aws asks who we are, with the environment that tshx makes and no keys of the
// account, as an AWS SDK does.
func (d *demo) aws(ctx context.Context) (string, error) {
	return d.listen(ctx, func(l listening) (string, error) {
		pem, err := os.ReadFile(l.Env["AWS_CA_BUNDLE"])
		if err != nil {
			return "", err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		proxy, err := url.Parse(l.Env["HTTPS_PROXY"])
		if err != nil {
			return "", err
		}
		tr := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}}
		defer tr.CloseIdleConnections()
		const body = "Action=GetCallerIdentity&Version=2011-06-15"
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://sts.us-east-1.amazonaws.com/", strings.NewReader(body))
		if err != nil {
			return "", err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		keys := aws.Credentials{AccessKeyID: l.Env["AWS_ACCESS_KEY_ID"], SecretAccessKey: l.Env["AWS_SECRET_ACCESS_KEY"]}
		if err := sign(req, []byte(body), keys, time.Now()); err != nil {
			return "", err
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return "", fmt.Errorf("GetCallerIdentity: %s", resp.Status)
		}
		var who identity
		if err := xml.NewDecoder(resp.Body).Decode(&who); err != nil {
			return "", fmt.Errorf("GetCallerIdentity: %w", err)
		}
		return fmt.Sprintf("tshx proxy aws: at %s, a stand-in for Amazon's STS says %s", l.Address, who.Arn), nil
	}, "proxy", "aws", "--app", awsApp, "--port", "0")
}
