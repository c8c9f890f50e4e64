package proxyserver

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// What is between the two halves, and what belongs to the client's own credentials,
// does not get to Amazon, although the client has signed it.
func TestAWSKeepsToItself(t *testing.T) {
	left := awsThrowAway
	left.SessionToken = "left over"
	for name, account := range map[string]aws.Credentials{
		"keys":           awsReal,
		"temporary keys": {AccessKeyID: awsReal.AccessKeyID, SecretAccessKey: awsReal.SecretAccessKey, SessionToken: "real token"},
	} {
		t.Run(name, func(t *testing.T) {
			up := startFakeAWS(t, account)
			f := start(t, Options{Apps: []App{{Name: "aws", AWS: &AWS{
				AccessKeyID: account.AccessKeyID, SecretAccessKey: account.SecretAccessKey, SessionToken: account.SessionToken,
				Endpoints: map[string]string{"": up.URL},
			}}}})
			call := testCall{uri: "/", host: "s3.eu-west-1.amazonaws.com", service: "s3", header: http.Header{"X-Teleport-Note": {"inside"}, "X-Amz-Acl": {"private"}}}
			resp, text := do(t, f.client(newUser(t).tls(awsRoute()), "http/1.1"), call.request(t, f.addr, left))
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s", resp.Status, text)
			}
			got := up.seen[0].Header
			if token := got.Get("X-Amz-Security-Token"); token != account.SessionToken {
				t.Errorf("token %q", token)
			}
			if got.Get("X-Teleport-Note") != "" || got.Get("X-Amz-Acl") != "private" || strings.Contains(got.Get("Authorization"), "x-teleport") {
				t.Errorf("%v", got)
			}
		})
	}
}
