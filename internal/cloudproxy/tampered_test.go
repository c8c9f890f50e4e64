package cloudproxy

import (
	"net/http"
	"testing"
)

// Who has a presigned URL of somebody else can do with it what was signed, and no
// more: S3 acts upon its own headers, such as for another source or for everybody's
// access, and refuses those that are not signed.
func TestPresignedAdded(t *testing.T) {
	by := signing{keys: testKeys, service: "s3", at: testNow}
	url := bucket + "/k?X-Amz-Expires=3600"
	for header, want := range map[string]string{
		"X-Amz-Copy-Source": "AccessDenied", "X-Amz-Acl": "AccessDenied", "X-Amz-Meta-A": "AccessDenied",
		// They are about the way, and do not go on.
		"X-Amzn-Trace-Id": "", headerDate: "", "Content-Type": "",
	} {
		r := presign(t, request(t, "PUT", url, ""), by, payloadUnsigned)
		r.Header.Set(header, "added")
		if _, err := newTestAWS().Check(received(t, r)); codeOf(err) != want {
			t.Errorf("%s: %v", header, err)
		}
	}
}

// A header that is signed reaches the far side. One that the client has named as
// one of this connection would be taken away behind the check.
func TestSignedHeaderOfConnection(t *testing.T) {
	signed := request(t, "PUT", bucket+"/k", "", "X-Amz-Server-Side-Encryption", "aws:kms")
	signing{}.sign(t, signed, "")
	pre := presign(t, request(t, "GET", "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&X-Amz-Expires=60", "", "X-K8s-Aws-Id", "c"),
		signing{keys: testKeys, service: "sts", at: testNow}, hashOf(""))
	for name, r := range map[string]*http.Request{"x-amz-server-side-encryption": signed, "X-K8s-Aws-Id": pre} {
		r.Header.Set("Connection", "keep-alive, "+name)
		if _, err := newTestAWS().Check(received(t, r)); codeOf(err) != "SignatureDoesNotMatch" {
			t.Errorf("%s: %v", name, err)
		}
		r.Header.Set("Connection", "keep-alive")
		if _, err := newTestAWS().Check(received(t, r)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What there are two of is not what was verified.
func TestSignedTwice(t *testing.T) {
	for _, header := range []string{"Authorization", headerDate} {
		r := request(t, "GET", bucket+"/k", "")
		signing{}.sign(t, r, "")
		r.Header[header] = append(r.Header[header], r.Header.Get(header))
		if _, err := newTestAWS().Check(received(t, r)); codeOf(err) != "IncompleteSignature" {
			t.Errorf("%s: %v", header, err)
		}
	}
}

// Roles are remembered of STS alone: elsewhere everybody may write what looks like
// its answer.
func TestAssumedElsewhere(t *testing.T) {
	for host, want := range map[string]bool{
		"sts.amazonaws.com": true, "sts.us-gov-west-1.amazonaws.com": true, "sts-fips.us-east-1.amazonaws.com": true, "sts.cn-north-1.amazonaws.com.cn": true,
		"vpce-1-x.sts.eu-west-1.vpce.amazonaws.com": true, "b.s3.eu-west-1.amazonaws.com": false, "sts.s3.eu-west-1.amazonaws.com": false,
		"x.execute-api.eu-west-1.amazonaws.com": false,
	} {
		r := request(t, "POST", "https://"+host+"/", "Action=AssumeRole")
		signing{service: "sts", region: "us-east-1"}.sign(t, r, "Action=AssumeRole")
		c, err := newTestAWS().Check(received(t, r))
		if err != nil {
			t.Fatal(err)
		}
		if (c.Response != nil) != want {
			t.Errorf("%s: %v", host, c.Response != nil)
		}
	}
}
