package samples

// SIP is one SIP message as a peer might send it, and what the codec must find in it.
type SIP struct {
	Name string // what is special about it
	Wire string // octet by octet
	// Fault is what a message must be refused for: the name of a header, or "message" if it cannot be read at all.
	Fault string
	// Found has lines "what=value". What is method, uri, code, reason, sent-by, branch, from, from-tag, to, to-tag,
	// contacts (URIs, separated by blanks), media-type, body, or the long name of a header.
	Found string
}

// start and rest make a short request around the header of interest.
const (
	start = "OPTIONS sip:100@pbx.example.com SIP/2.0\r\n"
	via   = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n"
	from  = "From: <sip:a@example.com>;tag=1\r\n"
	to    = "To: <sip:b@example.com>\r\n"
	id    = "Call-ID: 1@192.0.2.1\r\n"
	cseq  = "CSeq: 1 OPTIONS\r\n"
	rest  = "Content-Length: 0\r\n\r\n"
)

// Messages is the table of SIP messages.
var Messages = []SIP{
	// Compact forms (RFC 3261 7.3.3, RFC 3515, 3841, 3892, 4028, 4474, 6665).
	{Name: "v", Wire: start + "v: SIP/2.0/TCP h;branch=z9hG4bKv\r\n" + from + to + id + cseq + rest, Found: "sent-by=h\nbranch=z9hG4bKv"},
	{Name: "f", Wire: start + via + "f: Bob <sip:bob@h>;tag=9\r\n" + to + id + cseq + rest, Found: "from=sip:bob@h\nfrom-tag=9"},
	{Name: "t", Wire: start + via + from + "t: <sip:al@h>;tag=8\r\n" + id + cseq + rest, Found: "to=sip:al@h\nto-tag=8"},
	{Name: "i", Wire: start + via + from + to + "i: abc@h\r\n" + cseq + rest, Found: "Call-ID=abc@h"},
	{Name: "m", Wire: start + via + from + to + id + cseq + "m: <sip:c@h:5070;transport=tcp>\r\n" + rest, Found: "contacts=sip:c@h:5070;transport=tcp"},
	{Name: "c and l", Wire: start + via + from + to + id + cseq + "c: text/plain\r\nl: 2\r\n\r\nhi" + "", Found: "media-type=text/plain\nContent-Type=text/plain\nbody=hi"},
	{Name: "a", Wire: start + via + from + to + id + cseq + "a: *;audio\r\n" + rest, Found: "Accept-Contact=*;audio"},
	{Name: "b", Wire: start + via + from + to + id + cseq + "b: <sip:r@h>\r\n" + rest, Found: "Referred-By=<sip:r@h>"},
	{Name: "d", Wire: start + via + from + to + id + cseq + "d: proxy\r\n" + rest, Found: "Request-Disposition=proxy"},
	{Name: "e", Wire: start + via + from + to + id + cseq + "e: gzip\r\n" + rest, Found: "Content-Encoding=gzip"},
	{Name: "j", Wire: start + via + from + to + id + cseq + "j: *;video\r\n" + rest, Found: "Reject-Contact=*;video"},
	{Name: "k", Wire: start + via + from + to + id + cseq + "k: timer, 100rel\r\n" + rest, Found: "Supported=timer, 100rel"},
	{Name: "n", Wire: start + via + from + to + id + cseq + "n: <https://h/cert>\r\n" + rest, Found: "Identity-Info=<https://h/cert>"},
	{Name: "o", Wire: start + via + from + to + id + cseq + "o: dialog;id=7\r\n" + rest, Found: "Event=dialog;id=7"},
	{Name: "r", Wire: start + via + from + to + id + cseq + "r: <sip:x@h?Replaces=1%3Bto-tag%3D2%3Bfrom-tag%3D3>\r\n" + rest, Found: "Refer-To=<sip:x@h?Replaces=1%3Bto-tag%3D2%3Bfrom-tag%3D3>"},
	{Name: "s", Wire: start + via + from + to + id + cseq + "s: lunch\r\n" + rest, Found: "Subject=lunch"},
	{Name: "u", Wire: start + via + from + to + id + cseq + "u: talk, hold\r\n" + rest, Found: "Allow-Events=talk, hold"},
	{Name: "x", Wire: start + via + from + to + id + cseq + "x: 90;refresher=uas\r\n" + rest, Found: "Session-Expires=90;refresher=uas"},
	{Name: "y", Wire: start + via + from + to + id + cseq + "y: \"abc\"\r\n" + rest, Found: "Identity=\"abc\""},
	{Name: "capital compact form", Wire: start + via + from + to + "I: abc\r\n" + cseq + rest, Found: "Call-ID=abc"},
	{Name: "compact response", Wire: "SIP/2.0 200 OK\r\nv: SIP/2.0/UDP h;branch=z9hG4bK1\r\nf: <sip:a@h>;tag=1\r\nt: <sip:b@h>;tag=2\r\ni: 1\r\nCSeq: 1 INVITE\r\nm: <sip:b@h2>\r\nk: timer\r\nx: 1800\r\nc: application/sdp\r\nl: 3\r\n\r\nv=0", Found: "code=200\nreason=OK\nbranch=z9hG4bK1\nfrom-tag=1\nto-tag=2\ncontacts=sip:b@h2\nSupported=timer\nSession-Expires=1800\nmedia-type=application/sdp\nbody=v=0"},
	// Names, blanks and folding (RFC 3261 7.3.1, 25.1).
	{Name: "names in other case", Wire: start + via + "FROM: <sip:a@h>;tag=1\r\n" + "to: <sip:b@h>\r\n" + "CALL-id: x\r\n" + "cSEQ: 1 OPTIONS\r\n" + rest, Found: "from-tag=1\nto=sip:b@h\nCall-ID=x"},
	{Name: "blanks before and after the colon", Wire: start + via + from + "To\t:<sip:b@h>\r\n" + "Call-ID \t:   x  \r\n" + cseq + rest, Found: "Call-ID=x\nto=sip:b@h"},
	{Name: "folded lines", Wire: start + via + from + "To:\r\n \"Bob\"\r\n\t<sip:b@h>\r\n ;tag=5\r\n" + id + cseq + "Subject: one\r\n   two\r\n" + rest, Found: "to=sip:b@h\nto-tag=5\nSubject=one two"},
	{Name: "an empty value", Wire: start + via + from + to + id + cseq + "Subject:\r\nSupported: \r\n" + rest, Found: "Subject=\nSupported="},
	{Name: "an unknown header", Wire: start + via + from + to + id + cseq + "X-Vendor: a;b=\"c,d\"\r\n" + rest, Found: "X-Vendor=a;b=\"c,d\""},
	{Name: "the version in other case", Wire: "OPTIONS sip:100@h sip/2.0\r\n" + via + from + to + id + cseq + rest, Found: "method=OPTIONS"},
	{Name: "octets above ASCII", Wire: start + via + "From: \"Jürgen\" <sip:j@h>;tag=1\r\n" + to + id + cseq + rest, Found: "from=sip:j@h"},
	// Via (RFC 3261 20.42, 25.1).
	{Name: "blanks in Via", Wire: start + "Via: SIP / 2.0 / UDP first.example.com : 4000 ; branch = z9hG4bKa ; ttl=16 ;maddr=224.2.0.1\r\n" + from + to + id + cseq + rest, Found: "sent-by=first.example.com:4000\nbranch=z9hG4bKa"},
	{Name: "Via of IPv6", Wire: start + "Via: SIP/2.0/UDP [2001:db8::9]:5070;branch=z9hG4bKb;received=192.0.2.4;rport\r\n" + from + to + id + cseq + rest, Found: "sent-by=[2001:db8::9]:5070\nbranch=z9hG4bKb"},
	{Name: "several Vias on a line", Wire: start + "Via: SIP/2.0/TLS a;branch=z9hG4bK1;x=\"b,c\", SIP/2.0/UDP d;branch=z9hG4bK2\r\n" + from + to + id + cseq + rest, Found: "sent-by=a\nbranch=z9hG4bK1"},
	{Name: "a Via without branch", Wire: start + "Via: SIP/2.0/UDP 192.0.2.1\r\n" + from + to + id + cseq + rest, Found: "sent-by=192.0.2.1\nbranch="},
	{Name: "Via of another protocol", Wire: start + "Via: HTTP/1.1/TCP h\r\n" + from + to + id + cseq + rest, Fault: "Via"},
	{Name: "Via without host", Wire: start + "Via: SIP/2.0/UDP\r\n" + from + to + id + cseq + rest, Fault: "Via"},
	// Addresses (RFC 3261 20.10).
	{Name: "addr-spec", Wire: start + via + "From: sip:a@h;tag=1\r\n" + "To: tel:+49301234;tag=2\r\n" + id + cseq + rest, Found: "from=sip:a@h\nfrom-tag=1\nto=tel:+49301234\nto-tag=2"},
	{Name: "a quoted name with everything", Wire: start + via + "From: \"a<b>;tag=no, \\\"c\\\"\" <sip:a@h;p=1?x=y>;tag=1\r\n" + to + id + cseq + rest, Found: "from=sip:a@h;p=1?x=y\nfrom-tag=1"},
	{Name: "a name of tokens", Wire: start + via + "From: Bell A. G. <sip:a@h>;x;tag=1;epid=ab\r\n" + to + id + cseq + rest, Found: "from=sip:a@h\nfrom-tag=1"},
	{Name: "a name with a comma without quotes", Wire: start + via + "From: Bell, A <sip:a@h>;tag=1\r\n" + to + id + cseq + rest, Found: "from=sip:a@h\nfrom-tag=1"},
	{Name: "blanks in an address", Wire: start + via + "From: \"A\"  < sip:a@h >  ; tag = 1\r\n" + to + id + cseq + rest, Found: "from=sip:a@h\nfrom-tag=1"},
	{Name: "a tag in capitals", Wire: start + via + from + "To: <sip:b@h>;TAG=Q7\r\n" + id + cseq + rest, Found: "to-tag=Q7"},
	{Name: "contacts on a line", Wire: start + via + from + to + id + cseq + "Contact: \"A;B, C\" <sip:1@h;x=1,2>;q=0.5;expires=60, <sip:2@h>;q=1\r\n" + rest, Found: "contacts=sip:1@h;x=1,2 sip:2@h"},
	{Name: "contacts on lines", Wire: start + via + from + to + id + cseq + "Contact: <sip:1@h>\r\nm: sip:2@h;q=0.1\r\n" + rest, Found: "contacts=sip:1@h sip:2@h"},
	{Name: "every contact", Wire: start + via + from + to + id + cseq + "Contact: *\r\n" + rest, Found: "contacts=*"},
	{Name: "To: no URI", Wire: start + via + from + "To: <>\r\n" + id + cseq + rest, Fault: "To"},
	{Name: "To: a URI without scheme", Wire: start + via + from + "To: <b@h>\r\n" + id + cseq + rest, Fault: "To"},
	{Name: "To: a quote without end", Wire: start + via + from + "To: \"Bob <sip:b@h>\r\n" + id + cseq + rest, Fault: "To"},
	{Name: "To: no closing bracket", Wire: start + via + from + "To: Bob <sip:b@h\r\n" + id + cseq + rest, Fault: "To"},
	{Name: "To: two addresses", Wire: start + via + from + "To: <sip:b@h>, <sip:c@h>\r\n" + id + cseq + rest, Fault: "To"},
	{Name: "To: two tags", Wire: start + via + from + "To: <sip:b@h>;tag=1;tag=2\r\n" + id + cseq + rest, Fault: "To"},
	{Name: "To: a tag without value", Wire: start + via + from + "To: <sip:b@h>;tag=\r\n" + id + cseq + rest, Fault: "To"},
	{Name: "To: something behind the bracket", Wire: start + via + from + "To: <sip:b@h> x;tag=1\r\n" + id + cseq + rest, Fault: "To"},
	{Name: "To: blanks in an addr-spec", Wire: start + via + from + "To: sip:b @h\r\n" + id + cseq + rest, Fault: "To"},
	{Name: "To: nothing", Wire: start + via + from + "To: \r\n" + id + cseq + rest, Fault: "To"},
	// Call-ID and CSeq (RFC 3261 20.8, 20.16).
	{Name: "blanks in CSeq", Wire: start + via + from + to + id + "CSeq:  0009\t  OPTIONS \r\n" + rest, Found: "CSeq=0009\t  OPTIONS"},
	{Name: "the largest CSeq", Wire: start + via + from + to + id + "CSeq: 2147483647 OPTIONS\r\n" + rest, Found: "CSeq=2147483647 OPTIONS"},
	{Name: "CSeq too large", Wire: start + via + from + to + id + "CSeq: 2147483648 OPTIONS\r\n" + rest, Fault: "CSeq"},
	{Name: "CSeq negative", Wire: start + via + from + to + id + "CSeq: -1 OPTIONS\r\n" + rest, Fault: "CSeq"},
	{Name: "CSeq of another method", Wire: start + via + from + to + id + "CSeq: 1 INVITE\r\n" + rest, Fault: "CSeq"},
	{Name: "CSeq without method", Wire: start + via + from + to + id + "CSeq: 1\r\n" + rest, Fault: "CSeq"},
	{Name: "CSeq without number", Wire: start + via + from + to + id + "CSeq: OPTIONS\r\n" + rest, Fault: "CSeq"},
	{Name: "CSeq with more", Wire: start + via + from + to + id + "CSeq: 1 OPTIONS x\r\n" + rest, Fault: "CSeq"},
	{Name: "a Call-ID of all marks", Wire: start + via + from + to + "Call-ID: a-.!%*_+`'~()<>:\\\"/[]?{}@h\r\n" + cseq + rest, Found: "Call-ID=a-.!%*_+`'~()<>:\\\"/[]?{}@h"},
	{Name: "an empty Call-ID", Wire: start + via + from + to + "Call-ID:\r\n" + cseq + rest, Fault: "Call-ID"},
	{Name: "two Call-IDs on a line", Wire: start + via + from + to + "Call-ID: a, b\r\n" + cseq + rest, Fault: "Call-ID"},
	// What may be there only once, and what must be there.
	{Name: "From twice", Wire: start + via + from + to + id + cseq + "From: <sip:a@h>;tag=1\r\n" + rest, Fault: "From"},
	{Name: "To twice", Wire: start + via + from + to + id + cseq + "To: <sip:b@h>\r\n" + rest, Fault: "To"},
	{Name: "Call-ID twice", Wire: start + via + from + to + id + cseq + "Call-ID: 1@192.0.2.1\r\n" + rest, Fault: "Call-ID"},
	{Name: "CSeq twice", Wire: start + via + from + to + id + cseq + "CSeq: 1 OPTIONS\r\n" + rest, Fault: "CSeq"},
	{Name: "no Via", Wire: start + from + to + id + cseq + rest, Fault: "Via"},
	{Name: "no From", Wire: start + via + to + id + cseq + rest, Fault: "From"},
	{Name: "no To", Wire: start + via + from + id + cseq + rest, Fault: "To"},
	{Name: "no Call-ID", Wire: start + via + from + to + cseq + rest, Fault: "Call-ID"},
	{Name: "no CSeq", Wire: start + via + from + to + id + rest, Fault: "CSeq"},
	{Name: "To and t", Wire: start + via + from + to + id + cseq + "t: <sip:b@h>\r\n" + rest, Fault: "To"},
	// Bodies (RFC 3261 7.4, 20.14, 20.15).
	{Name: "blanks in Content-Type", Wire: start + via + from + to + id + cseq + "Content-Type: Text / Plain ; charset = \"utf-8\"\r\nContent-Length: 1\r\n\r\nx" + "", Found: "media-type=text/plain\nbody=x"},
	{Name: "less in the datagram than announced", Wire: start + via + from + to + id + cseq + "Content-Length: 9\r\n\r\nx" + "", Fault: "message"},
	{Name: "more in the datagram than announced", Wire: start + via + from + to + id + cseq + "Content-Length: 1\r\n\r\nxyz" + "", Found: "body=x"},
	{Name: "no Content-Length", Wire: start + via + from + to + id + cseq + "Content-Type: text/plain\r\n\r\nxyz" + "", Found: "body=xyz"},
	{Name: "a negative Content-Length", Wire: start + via + from + to + id + cseq + "Content-Length: -1\r\n\r\n" + "", Fault: "message"},
	// Start lines.
	{Name: "a URI with everything", Wire: "OPTIONS sips:+1-212;x=y:pw@[2001:db8::1]:5061;transport=tcp;lr?Subject=a%20b SIP/2.0\r\n" + via + from + to + id + cseq + rest, Found: "method=OPTIONS\nuri=sips:+1-212;x=y:pw@[2001:db8::1]:5061;transport=tcp;lr?Subject=a%20b"},
	{Name: "a tel URI", Wire: "OPTIONS tel:+1-212-555;phone-context=h SIP/2.0\r\n" + via + from + to + id + cseq + rest, Found: "uri=tel:+1-212-555;phone-context=h"},
	{Name: "no reason", Wire: "SIP/2.0 180 \r\n" + via + from + to + id + cseq + rest, Found: "code=180\nreason="},
	{Name: "a reason of words", Wire: "SIP/2.0 480 Nicht erreichbar, später\r\n" + via + from + to + id + cseq + rest, Found: "code=480\nreason=Nicht erreichbar, später"},
	{Name: "a blank too many", Wire: "OPTIONS  sip:100@h SIP/2.0\r\n" + via + from + to + id + cseq + rest, Fault: "message"},
	{Name: "a header without colon", Wire: start + via + from + to + id + cseq + "Nonsense\r\n" + rest, Fault: "message"},
}
