package sip

import (
	"strings"
	"testing"
)

// Secrets are overwritten in headers of any case, folded or not, in URIs and in SDP; all else stays, and no octet moves.
func TestConceal(t *testing.T) {
	body := func(b []byte) []byte {
		return []byte(strings.ReplaceAll(string(b), "BODY", "****"))
	}
	for in, want := range map[string]string{
		"": "",
		"REGISTER sip:a SIP/2.0\r\nAuthorization: Digest username=\"u, v\", realm=\"r\", response=\"abc\", nc=1\r\nA: b\r\n\r\n": "REGISTER sip:a SIP/2.0\r\nAuthorization: Digest username=\"u, v\", realm=\"r\", response=*****, nc=1\r\nA: b\r\n\r\n",
		"proxy-AUTHORIZATION : digest response=abc,\r\n cnonce=\"d\\\"e,f\"\r\nA: b":                                             "proxy-AUTHORIZATION : digest response=***,\r\n cnonce=********\r\nA: b",
		"Authorization: Basic dTpw\r\nA: b\r\n":                                                                                  "Authorization: Basic ****\r\nA: b\r\n",
		"Authorization:dTpw\r\nA: b\r\n":                                                                                         "Authorization:****\r\nA: b\r\n",
		"WWW-Authenticate: NTLM realm=\"r\", gssapi-data=\"T\"\r\n":                                                              "WWW-Authenticate: NTLM *********, ***************\r\n",
		"Authentication-Info: rspauth=\"1\", nc=1\r\n":                                                                           "Authentication-Info: ***********, ****\r\n",
		"INVITE sip:u:p@h SIP/2.0\r\nTo: <sips:u:pw@h>;tag=1\r\nFrom: <sip:u@h:5060>\r\nCall-ID: a:b@h\r\n\r\nsip:u:p@h BODY":    "INVITE sip:u:*@h SIP/2.0\r\nTo: <sips:u:**@h>;tag=1\r\nFrom: <sip:u@h:5060>\r\nCall-ID: a:b@h\r\n\r\nsip:u:p@h ****",
		"A: b\r\n\r\nv=0\r\na=crypto:1 AES inline:KEY|2^20\r\nk=clear:x\r\na=sendrecv\r\n":                                       "A: b\r\n\r\nv=0\r\na=crypto:1 AES inline:********\r\nk=*******\r\na=sendrecv\r\n",
		"Authorization: Digest username=\"never closed, response=abc\r\nA: b\r\n\r\nBODY k=":                                     "Authorization: Digest username=***************************\r\nA: b\r\n\r\n**** k=",
	} {
		got := string(Conceal([]byte(in), body))
		if got != want {
			t.Errorf("%q becomes\n%q, want\n%q", in, got, want)
		}
		if len(got) != len(in) {
			t.Errorf("%d octets become %d", len(in), len(got))
		}
	}
}
