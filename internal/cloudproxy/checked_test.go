package cloudproxy

import (
	"strings"
	"testing"
)

// A request that lacks the body whose hash was signed is not let through as an empty
// one: it would make an object empty.
func TestBodyMissing(t *testing.T) {
	for _, method := range []string{"PUT", "POST"} {
		r := request(t, method, bucket+"/k", "")
		signing{}.sign(t, r, "hello")
		r.Header.Set("Content-Length", "0")
		if _, err := newTestAWS().Check(received(t, r)); codeOf(err) != "XAmzContentSHA256Mismatch" {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// SDKs take the region as people write it; names of hosts are in lower case.
func TestEndpointRegionInCapitals(t *testing.T) {
	a := newTestAWS()
	a.o.Endpoint = true
	r := request(t, "GET", "https://127.0.0.1:1/", "")
	signing{region: "EU-West-1"}.sign(t, r, "")
	c, err := a.Check(received(t, r))
	if err != nil || c.Host != "s3.eu-west-1.amazonaws.com" || !strings.Contains(c.Request.Header.Get("Authorization"), "/EU-West-1/") {
		t.Errorf("%+v, %v", c, err)
	}
}

// Of S3's headers there are more than a few that do something else.
func TestPresignedActs(t *testing.T) {
	for _, header := range []string{"X-Amz-Tagging", "X-Amz-Grant-Full-Control", "X-Amz-Website-Redirect-Location", "X-Amz-Storage-Class", "X-Amz-Object-Lock-Mode", "X-Amz-Mfa"} {
		r := presign(t, request(t, "PUT", bucket+"/k?X-Amz-Expires=3600", ""), signing{keys: testKeys, service: "s3", at: testNow}, payloadUnsigned)
		r.Header.Set(header, "added")
		if _, err := newTestAWS().Check(received(t, r)); codeOf(err) != "AccessDenied" {
			t.Errorf("%s: %v", header, err)
		}
	}
}
