package uacsta_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Secrets are overwritten wherever XML can hide them, all else stays as it is, and no octet moves.
func TestConceal(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		"no XML password=x":             "no XML password=x",
		"<MakeCall><a>1</a></MakeCall>": "<MakeCall><a>1</a></MakeCall>",
		"<agentPassword>1234</agentPassword><b>5</b>":                      "<agentPassword>****</agentPassword><b>5</b>",
		"<x:passWD a='1' >sé</x:passWD>":                                   "<x:passWD a='1' >***</x:passWD>",
		"<password/><b>5</b>":                                              "<password/><b>5</b>",
		"<password></password><b>5</b>":                                    "<password></password><b>5</b>",
		"<pin><![CDATA[</pin>7]]>8</pin><b>5</b>":                          "<pin>********************</pin><b>5</b>",
		"<pwd><!-- </pwd> -->8</pwd>":                                      "<pwd>****************</pwd>",
		"<pwd><pwd>1</pwd><c/>2</pwd><b>5</b>":                             "<pwd>*****************</pwd><b>5</b>",
		"<login user='u' password = \"p>q'r\" n='/'>x</login>":             "<login user='u' password = \"*****\" n='/'>x</login>",
		"<password>secret":                                                 "<password>******",
		"<password":                                                        "<password",
		"<a password='secret":                                              "<a password='******",
		"<a b=1 / password='s'/><pwd>1</pwd>":                              "<a b=1 / password='*'/><pwd>*</pwd>",
		"<!-- <pwd> --><a>1</a>":                                           "<!-- <pwd> --><a>1</a>",
		"INFO sip:a SIP/2.0\r\n\r\n<s:ClientSecret>1</s:ClientSecret>\r\n": "INFO sip:a SIP/2.0\r\n\r\n<s:ClientSecret>*</s:ClientSecret>\r\n",
		"<\x00p\x00w\x00d\x00>":                                            "*********",
	} {
		before := []byte(in)
		got := uacsta.Conceal(before)
		if string(got) != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
		if string(before) != in || len(got) != len(in) {
			t.Errorf("%q was changed", in)
		}
		if got = uacsta.Conceal(got); want != "*********" && string(got) != want {
			t.Errorf("twice: %q", got)
		}
	}
}

// Nothing but secrets is overwritten, as Message.WriteMasked knows them, and a document that can be read stays so.
func FuzzConceal(f *testing.F) {
	for _, seed := range []string{
		"<SetAgentState xmlns=\"http://www.ecma-international.org/standards/ecma-323/csta/ed6\"><device>1</device><requestedAgentState>loggedOn</requestedAgentState><agentID>7</agentID><password>secret</password></SetAgentState>",
		"<a><b>1</b></a>", "<password>x</password>",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		got := uacsta.Conceal(document)
		if len(got) != len(document) {
			t.Fatalf("%d octets become %d", len(document), len(got))
		}
		m, err := uacsta.Parse(document)
		if err != nil {
			return
		}
		hidden, err := uacsta.Parse(got)
		if err != nil {
			t.Fatalf("%q becomes %q: %v", document, got, err)
		}
		var a, b bytes.Buffer
		m.WriteMasked(&a)
		hidden.WriteMasked(&b)
		if a.String() != b.String() {
			t.Fatalf("%q becomes %q", document, got)
		}
	})
}

func BenchmarkConceal(b *testing.B) {
	document := []byte("<DeliveredEvent xmlns=\"http://www.ecma-international.org/standards/ecma-323/csta/ed6\"><monitorCrossRefID>1</monitorCrossRefID>" +
		strings.Repeat("<connection><callID>7</callID><deviceID typeOfNumber=\"dialingNumber\">1000</deviceID></connection>", 10) + "</DeliveredEvent>")
	b.SetBytes(int64(len(document)))
	for b.Loop() {
		uacsta.Conceal(document)
	}
}
