// Package samples is the one table of CSTA-XML wire samples: codec tests, tests
// of the whole system and fuzz seeds all use it.
package samples

// Sample is one document as a peer might send it.
type Sample struct {
	Name    string // what is special about it
	Wire    string // octet by octet
	Root    string // local name of the root; "" when the document must be refused
	Refusal string // which refusal: the part of the error's text that tells them apart
	Devices string // the device identifiers in document order, "path=id", separated by blanks
	Read    string // the one form that it is read as; "" where it has that form
}

const ed3 = `xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"`

// Line is the Line URI that the Lync-style samples use.
const Line = "tel:+14255550100;ext=100"

// All is the table.
var All = []Sample{
	// What Lync-style clients send.
	{
		Name: "session opened with a line in private data",
		Wire: `<?xml version="1.0"?><RequestSystemStatus ` + ed3 + `><extensions><privateData><private><lcs:line xmlns:lcs="http://schemas.microsoft.com/Lcs/2005/04/RCCExtension">` + Line + `</lcs:line></private></privateData></extensions></RequestSystemStatus>`,
		Root: "RequestSystemStatus",
	},
	{
		Name: "features asked for with a line",
		Wire: `<?xml version="1.0"?><GetCSTAFeatures ` + ed3 + `><extensions><privateData><private><lcs:line xmlns:lcs="http://schemas.microsoft.com/Lcs/2005/04/RCCExtension">` + Line + `</lcs:line></private></privateData></extensions></GetCSTAFeatures>`,
		Root: "GetCSTAFeatures",
	},
	{
		Name:    "monitor on a line URI",
		Wire:    `<?xml version="1.0"?><MonitorStart ` + ed3 + `><monitorObject><deviceObject>` + Line + `</deviceObject></monitorObject></MonitorStart>`,
		Root:    "MonitorStart",
		Devices: "monitorObject/deviceObject=" + Line,
	},
	{
		Name:    "call from a line URI",
		Wire:    `<?xml version="1.0"?><MakeCall ` + ed3 + `><callingDevice>` + Line + `</callingDevice><calledDirectoryNumber>tel:+14255550101</calledDirectoryNumber><autoOriginate>doNotPrompt</autoOriginate></MakeCall>`,
		Root:    "MakeCall",
		Devices: "callingDevice=" + Line + " calledDirectoryNumber=tel:+14255550101",
	},
	// The same name, three shapes.
	{
		Name:    "callingDevice as a connection",
		Wire:    `<MakeCallResponse ` + ed3 + `><callingDevice><callID>55</callID><deviceID>1001</deviceID></callingDevice></MakeCallResponse>`,
		Root:    "MakeCallResponse",
		Devices: "callingDevice/deviceID=1001",
	},
	{
		Name:    "callingDevice as a choice",
		Wire:    `<DeliveredEvent ` + ed3 + `><monitorCrossRefID>7</monitorCrossRefID><connection><callID>55</callID><deviceID>1002</deviceID></connection><alertingDevice><deviceIdentifier>1002</deviceIdentifier></alertingDevice><callingDevice><restricted/></callingDevice><calledDevice><deviceIdentifier>1002</deviceIdentifier></calledDevice><lastRedirectionDevice><numberDialed>1004</numberDialed></lastRedirectionDevice><localConnectionInfo>alerting</localConnectionInfo><cause>newCall</cause></DeliveredEvent>`,
		Root:    "DeliveredEvent",
		Devices: "connection/deviceID=1002 alertingDevice/deviceIdentifier=1002 calledDevice/deviceIdentifier=1002 lastRedirectionDevice/numberDialed=1004",
	},
	{
		Name:    "destination as one device",
		Wire:    `<DeflectCall ` + ed3 + `><callToBeDiverted><callID>55</callID><deviceID>1002</deviceID></callToBeDiverted><newDestination>1003</newDestination></DeflectCall>`,
		Root:    "DeflectCall",
		Devices: "callToBeDiverted/deviceID=1002 newDestination=1003",
	},
	{
		Name:    "destination as a list",
		Wire:    `<DeflectCall xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed6"><callToBeDiverted><deviceID>1002</deviceID><callID>55</callID></callToBeDiverted><newDestination><device>1003</device><device>1004</device></newDestination></DeflectCall>`,
		Root:    "DeflectCall",
		Devices: "callToBeDiverted/deviceID=1002 newDestination/device=1003 newDestination/device=1004",
		Read:    `<DeflectCall xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed6"><callToBeDiverted><callID>55</callID><deviceID>1002</deviceID></callToBeDiverted><newDestination><device>1003</device><device>1004</device></newDestination></DeflectCall>`,
	},
	{
		Name:    "parties listed after a transfer",
		Wire:    `<TransferedEvent ` + ed3 + `><monitorCrossRefID>7</monitorCrossRefID><primaryOldCall><callID>55</callID><deviceID>1001</deviceID></primaryOldCall><transferringDevice><deviceIdentifier>1001</deviceIdentifier></transferringDevice><transferredToDevice><deviceIdentifier>1003</deviceIdentifier></transferredToDevice><transferredConnections><connectionListItem><newConnection><callID>60</callID><deviceID>1002</deviceID></newConnection><oldConnection><callID>55</callID><deviceID>1002</deviceID></oldConnection><endpoint><deviceID>1002</deviceID></endpoint></connectionListItem></transferredConnections><localConnectionInfo>null</localConnectionInfo><cause>singleStepTransfer</cause></TransferedEvent>`,
		Root:    "TransferedEvent",
		Devices: "primaryOldCall/deviceID=1001 transferringDevice/deviceIdentifier=1001 transferredToDevice/deviceIdentifier=1003 transferredConnections/connectionListItem/newConnection/deviceID=1002 transferredConnections/connectionListItem/oldConnection/deviceID=1002 transferredConnections/connectionListItem/endpoint/deviceID=1002",
	},
	// What must be read although nobody should write it.
	{Name: "no namespace", Wire: `<AnswerCall><callToBeAnswered><callID>1</callID></callToBeAnswered></AnswerCall>`, Root: "AnswerCall"},
	{
		Name:    "prefixes",
		Wire:    `<ns3:HoldCall xmlns:ns3="http://www.ecma-international.org/standards/ecma-323/csta/ed4" xmlns:unused="urn:x"><ns3:callToBeHeld><ns3:callID>1</ns3:callID><deviceID>1001</deviceID></ns3:callToBeHeld></ns3:HoldCall>`,
		Root:    "HoldCall",
		Devices: "callToBeHeld/deviceID=1001",
		Read:    `<HoldCall xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed4"><callToBeHeld><callID>1</callID><deviceID>1001</deviceID></callToBeHeld></HoldCall>`,
	},
	{
		Name:    "edition 2, other host, blanks in values",
		Wire:    "<MonitorStart xmlns=\"http://www.ecma.ch/standards/ecma-323/csta/ed2\">\r\n <monitorObject>\r\n  <deviceObject> 302118840100\r\n </deviceObject></monitorObject></MonitorStart>\r\n",
		Root:    "MonitorStart",
		Devices: "monitorObject/deviceObject=302118840100",
		Read:    `<MonitorStart xmlns="http://www.ecma.ch/standards/ecma-323/csta/ed2"><monitorObject><deviceObject>302118840100</deviceObject></monitorObject></MonitorStart>`,
	},
	{
		Name:    "ISO-8859-1",
		Wire:    "<?xml version=\"1.0\" encoding=\"ISO-8859-1\" standalone=\"yes\"?><MakeCall " + ed3 + "><callingDevice>1001</callingDevice><calledDirectoryNumber>1002</calledDirectoryNumber><subjectOfCall>Gr\xfc\xdfe</subjectOfCall></MakeCall>",
		Root:    "MakeCall",
		Devices: "callingDevice=1001 calledDirectoryNumber=1002",
	},
	{
		Name:    "switching function representation, escaped",
		Wire:    `<SnapshotDevice ` + ed3 + `><snapshotObject>N&lt;7868772298&gt;Line71001;displayNumber=7868772298</snapshotObject></SnapshotDevice>`,
		Root:    "SnapshotDevice",
		Devices: "snapshotObject=N<7868772298>Line71001;displayNumber=7868772298",
	},
	{
		Name:    "unknown children, attributes, comments, CDATA and private data",
		Wire:    `<MakeCall ` + ed3 + ` v:mark="1" xmlns:v="urn:vendor"><callingDevice typeOfNumber="explicitPublic:subscriber" v:x="&quot;&#10;&quot;">1001</callingDevice><!-- why --><v:new><v:a b=""/><![CDATA[<&]]></v:new><?pi data?><calledDirectoryNumber>1002</calledDirectoryNumber><extensions><privateData><private><v:x>1 &lt; 2</v:x></private></privateData></extensions></MakeCall>`,
		Root:    "MakeCall",
		Devices: "callingDevice=1001 calledDirectoryNumber=1002",
		Read:    `<MakeCall ` + ed3 + ` xmlns:v="urn:vendor" v:mark="1"><callingDevice typeOfNumber="explicitPublic:subscriber" xmlns:v="urn:vendor" v:x="&quot;&#10;&quot;">1001</callingDevice><calledDirectoryNumber>1002</calledDirectoryNumber><v:new xmlns:v="urn:vendor"><v:a b=""/><![CDATA[<&]]></v:new><extensions><privateData><private><v:x xmlns:v="urn:vendor">1 &lt; 2</v:x></private></privateData></extensions></MakeCall>`,
	},
	{Name: "text in pieces that no reader tells apart", Wire: `<SnapshotDevice ` + ed3 + `><snapshotObject><![CDATA[10]]>0&#49;</snapshotObject></SnapshotDevice>`, Root: "SnapshotDevice", Devices: "snapshotObject=1001", Read: `<SnapshotDevice ` + ed3 + `><snapshotObject>1001</snapshotObject></SnapshotDevice>`},
	{Name: "values of types", Wire: `<SwitchingFunctionDevices ` + ed3 + `><serviceCrossRefID>1</serviceCrossRefID><segmentID> +07</segmentID><lastSegment>1</lastSegment><deviceList/></SwitchingFunctionDevices>`, Root: "SwitchingFunctionDevices", Read: `<SwitchingFunctionDevices ` + ed3 + `><serviceCrossRefID>1</serviceCrossRefID><segmentID>7</segmentID><lastSegment>true</lastSegment><deviceList/></SwitchingFunctionDevices>`},
	{Name: "a value that is left empty", Wire: `<SwitchingFunctionDevices ` + ed3 + `><serviceCrossRefID>1</serviceCrossRefID><segmentID> </segmentID><lastSegment>true</lastSegment><deviceList/></SwitchingFunctionDevices>`, Root: "SwitchingFunctionDevices", Read: `<SwitchingFunctionDevices ` + ed3 + `><serviceCrossRefID>1</serviceCrossRefID><lastSegment>true</lastSegment><deviceList/></SwitchingFunctionDevices>`},
	{Name: "a declaration that private data needs", Wire: `<p:AnswerCall xmlns:p="http://www.ecma-international.org/standards/ecma-323/csta/ed3" xmlns="urn:shop" xmlns:s="urn:store"><p:callToBeAnswered><p:callID>1</p:callID></p:callToBeAnswered><p:extensions><p:privateData><p:private><order s:n="7"/></p:private></p:privateData></p:extensions></p:AnswerCall>`, Root: "AnswerCall", Read: `<AnswerCall ` + ed3 + `><callToBeAnswered><callID>1</callID></callToBeAnswered><extensions><privateData><private><order s:n="7" xmlns="urn:shop" xmlns:s="urn:store"/></private></privateData></extensions></AnswerCall>`},
	{Name: "something unknown with the prefix of the standard's", Wire: `<p:AnswerCall xmlns:p="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><p:callToBeAnswered><p:callID>1</p:callID></p:callToBeAnswered><p:later><p:more/></p:later></p:AnswerCall>`, Root: "AnswerCall", Read: `<AnswerCall ` + ed3 + `><callToBeAnswered><callID>1</callID></callToBeAnswered><later><more/></later></AnswerCall>`},
	{Name: "where a schema is", Wire: `<AnswerCall ` + ed3 + ` xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b"><callToBeAnswered><callID>1</callID></callToBeAnswered></AnswerCall>`, Root: "AnswerCall", Read: `<AnswerCall ` + ed3 + `><callToBeAnswered><callID>1</callID></callToBeAnswered></AnswerCall>`},
	{Name: "a name nobody knows", Wire: `<WashDishes ` + ed3 + `><device>1001</device></WashDishes>`, Root: "WashDishes"},
	{Name: "an empty message", Wire: `<AnswerCallResponse ` + ed3 + `/>`, Root: "AnswerCallResponse"},
	// What two readers may read differently.
	{Name: "an element twice and a child in the first", Wire: `<GetForwarding><device>100<x/></device><device>200</device></GetForwarding>`, Refusal: "invalidParameterValue"},
	{Name: "an element twice", Wire: `<MakeCall><callingDevice>300</callingDevice><calledDirectoryNumber>301</calledDirectoryNumber><calledDirectoryNumber>302</calledDirectoryNumber></MakeCall>`, Refusal: "calledDirectoryNumber is there twice"},
	{Name: "an element twice and once in another place", Wire: `<MakeCall><calledDirectoryNumber>301</calledDirectoryNumber><callingDevice>300</callingDevice><calledDirectoryNumber>302</calledDirectoryNumber></MakeCall>`, Refusal: "calledDirectoryNumber is there twice"},
	{Name: "a connection twice", Wire: `<ClearCall><callToBeCleared><callID>5</callID></callToBeCleared><callToBeCleared><callID>5</callID><deviceID>300</deviceID></callToBeCleared></ClearCall>`, Refusal: "callToBeCleared is there twice"},
	{Name: "a half of a connection twice", Wire: `<AnswerCall><callToBeAnswered><callID>1</callID><deviceID>100</deviceID><deviceID>200</deviceID></callToBeAnswered></AnswerCall>`, Refusal: "deviceID is there twice"},
	{Name: "a reference twice", Wire: `<StopDataCollection><dcollCrossRefID>1</dcollCrossRefID><dcollCrossRefID>8</dcollCrossRefID></StopDataCollection>`, Refusal: "dcollCrossRefID is there twice"},
	{Name: "a name of edition 6 beside that of edition 3", Wire: `<SetLampMode><device>100</device><LampMode>1</LampMode><lampMode>2</lampMode></SetLampMode>`, Refusal: "is there twice"},
	{Name: "two branches of a choice", Wire: `<MonitorStart><monitorObject><callObject><callID>1</callID><deviceID>200</deviceID></callObject><deviceObject>100</deviceObject></monitorObject></MonitorStart>`, Refusal: "two branches of a choice"},
	{Name: "a known device that is not known", Wire: `<HeldEvent><holdingDevice><notKnown/><deviceIdentifier>100</deviceIdentifier></holdingDevice></HeldEvent>`, Refusal: "two branches of a choice"},
	{Name: "text split by an element", Wire: `<MakeCall><callingDevice>300</callingDevice><calledDirectoryNumber>301<x/>900</calledDirectoryNumber></MakeCall>`, Refusal: "something in its text"},
	{Name: "text split by a comment", Wire: `<MakeCall><callingDevice>300</callingDevice><calledDirectoryNumber>301<!-- -->900</calledDirectoryNumber></MakeCall>`, Refusal: "something in its text"},
	{Name: "text behind an instruction", Wire: `<MakeCall><callingDevice>300</callingDevice><calledDirectoryNumber><?x y?>301</calledDirectoryNumber></MakeCall>`, Refusal: "something in its text"},
	{Name: "text between elements", Wire: `<AnswerCall><callToBeAnswered>100<callID>1</callID></callToBeAnswered></AnswerCall>`, Refusal: "text between its elements"},
	{Name: "a device and a list of devices", Wire: `<DeflectCall><callToBeDiverted><callID>1</callID></callToBeDiverted><newDestination>301<device>302</device></newDestination></DeflectCall>`, Refusal: "text between its elements"},
	{Name: "something else in a connection", Wire: `<AnswerCall><callToBeAnswered><callID>1</callID><DeviceID>100</DeviceID></callToBeAnswered></AnswerCall>`, Refusal: "something else in it"},
	{Name: "a name of the standard's in other letters", Wire: `<MakeCall><callingDevice>300</callingDevice><CalledDirectoryNumber>+1900</CalledDirectoryNumber></MakeCall>`, Refusal: "not expected there"},
	{Name: "a name of the standard's in an unknown element", Wire: `<SetForwarding><device>300</device><activateForward>true</activateForward><foo><forwardDN>+1900</forwardDN></foo></SetForwarding>`, Refusal: "not expected there"},
	{Name: "a name of the standard's in a foreign namespace", Wire: `<MakeCall ` + ed3 + `><callingDevice>300</callingDevice><p:calledDirectoryNumber xmlns:p="urn:y">302</p:calledDirectoryNumber></MakeCall>`, Refusal: "foreign namespace"},
	{Name: "a name of the standard's in a foreign default namespace", Wire: `<MakeCall ` + ed3 + `><callingDevice>300</callingDevice><calledDirectoryNumber xmlns="urn:x">301</calledDirectoryNumber></MakeCall>`, Refusal: "foreign namespace"},
	{Name: "a nil device", Wire: `<SnapshotDevice ` + ed3 + `><snapshotObject xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:nil="true">100</snapshotObject></SnapshotDevice>`, Refusal: "something else"},
	{Name: "a boolean that is none", Wire: `<SetDoNotDisturb><device>100</device><doNotDisturbOn>perhaps</doNotDisturbOn></SetDoNotDisturb>`, Refusal: "neither true nor false"},
	{Name: "a number that is none", Wire: `<SetForwarding><device>100</device><activateForward>true</activateForward><ringCount>2x</ringCount></SetForwarding>`, Refusal: "no whole number"},
	{Name: "two lines", Wire: `<RequestSystemStatus><extensions><privateData><private><line>100</line><line>101</line></private></privateData></extensions></RequestSystemStatus>`, Refusal: "line is there twice"},
	{Name: "a line with something in it", Wire: `<RequestSystemStatus><extensions><privateData><private><line>100<x/></line></private></privateData></extensions></RequestSystemStatus>`, Refusal: "something in its text"},
	{Name: "two errors", Wire: `<CSTAErrorCode><operation>generic</operation><security>generic</security></CSTAErrorCode>`, Refusal: "two values"},
	{Name: "a prefix in private data that is not declared", Wire: `<AnswerCall><callToBeAnswered><callID>1</callID></callToBeAnswered><extensions><privateData><private><x:y/></private></privateData></extensions></AnswerCall>`, Refusal: "not declared"},
	// What must be refused.
	{Name: "entity bomb", Wire: `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><MakeCall>&b;</MakeCall>`, Refusal: "document type"},
	{Name: "outside entity", Wire: `<!DOCTYPE x SYSTEM "file:///etc/passwd"><MakeCall/>`, Refusal: "document type"},
	{Name: "undeclared entity", Wire: `<MakeCall>&nbsp;</MakeCall>`, Refusal: "predefined entities"},
	{Name: "UTF-16", Wire: "\xff\xfe<\x00a\x00/\x00>\x00", Refusal: "UTF-8 and ISO-8859-1"},
	{Name: "unsupported encoding", Wire: `<?xml version="1.0" encoding="windows-1252"?><a/>`, Refusal: "UTF-8 and ISO-8859-1"},
	{Name: "not UTF-8", Wire: "<a>\xff</a>", Refusal: "UTF-8 and ISO-8859-1"},
	{Name: "control character", Wire: "<a>\x01</a>", Refusal: "not well-formed"},
	{Name: "reference to a control character", Wire: "<a>&#0;</a>", Refusal: "not well-formed"},
	{Name: "nothing", Wire: "", Refusal: "not well-formed"},
	{Name: "half a message", Wire: `<MakeCall><callingDevice>10`, Refusal: "not well-formed"},
	{Name: "instruction cut short", Wire: `<?>0`, Refusal: "not well-formed"},
	{Name: "tags crossed", Wire: `<a><b></a></b>`, Refusal: "not well-formed"},
	{Name: "two roots", Wire: `<a/><b/>`, Refusal: "not well-formed"},
	{Name: "text behind the root", Wire: `<a/>x`, Refusal: "not well-formed"},
	{Name: "attribute twice", Wire: `<a b="1" b="2"/>`, Refusal: "not well-formed"},
	{Name: "attribute without quotes", Wire: `<a b=1/>`, Refusal: "not well-formed"},
	{Name: "less-than in an attribute", Wire: `<a b="<"/>`, Refusal: "not well-formed"},
}
