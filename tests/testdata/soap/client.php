<?php
// A client of CSTA over SOAP with SoapClient: php client.php URL CERTIFICATE PASSWORD FOLDER
// It keeps every envelope of the proxy in the folder.

[, $url, $certificate, $password, $folder] = $argv;
$options = [
    'login' => 'crm', 'password' => $password, 'trace' => true, 'cache_wsdl' => WSDL_CACHE_NONE,
    'features' => SOAP_SINGLE_ELEMENT_ARRAYS, 'soap_version' => SOAP_1_1,
    'stream_context' => stream_context_create(['ssl' => ['cafile' => $certificate]]),
];
$client = new SoapClient("$url/csta/ed3?WSDL", $options);

function check(bool $holds, mixed $why): void
{
    if (!$holds) {
        fwrite(STDERR, print_r($why, true));
        exit(1);
    }
}

function ask(string $operation, array $request): mixed
{
    global $client, $folder;
    static $n = 0;
    try {
        return $client->__soapCall($operation, [$request]);
    } finally {
        if ($client->__getLastResponse()) {
            file_put_contents(sprintf('%s/php%03d.xml', $folder, $n++), $client->__getLastResponse());
        }
    }
}

$monitor = ask('MonitorStart', ['monitorObject' => ['deviceObject' => '1001']])->monitorCrossRefID;
$call = ask('MakeCall', ['callingDevice' => '1000', 'calledDirectoryNumber' => '1001', 'autoOriginate' => 'doNotPrompt'])->callingDevice->callID;
$names = [];
$handled = 0;
function pull(string $wanted): mixed
{
    global $names, $handled;
    while (true) {
        $answer = ask('GetEvents', ['acknowledge' => $handled, 'maxEvents' => 1, 'waitSeconds' => 20]);
        check(!$answer->lost && isset($answer->event), [$wanted, $names, $answer]);
        foreach ($answer->event as $entry) {
            $handled = $entry->number;
            $names[] = array_keys(array_diff_key(get_object_vars($entry), ['number' => 0]))[0];
            if (isset($entry->$wanted)) {
                return $entry->$wanted;
            }
        }
    }
}
$delivered = pull('DeliveredEvent');
check($delivered->monitorCrossRefID === $monitor && $delivered->callingDevice->deviceIdentifier->_ === '1000', $delivered);
$at = fn (string $device): array => ['callID' => $call, 'deviceID' => $device];
ask('AnswerCall', ['callToBeAnswered' => $at('1001')]);
pull('EstablishedEvent');
ask('HoldCall', ['callToBeHeld' => $at('1001')]);
pull('HeldEvent');
$consulted = ask('ConsultationCall', ['existingCall' => $at('1000'), 'consultedDevice' => '1002'])->initiatedCall->callID;
ask('AnswerCall', ['callToBeAnswered' => ['callID' => $consulted, 'deviceID' => '1002']]);
ask('TransferCall', ['heldCall' => $at('1000'), 'activeCall' => ['callID' => $consulted, 'deviceID' => '1000']]);
pull('TransferedEvent');
$taken = ask('SnapshotDevice', ['snapshotObject' => '1001'])->crossRefIDorSnapshotData->snapshotData->snapshotDeviceResponseInfo;
check(count($taken) === 1, $taken);
try {
    ask('MakeCall', ['callingDevice' => '99999', 'calledDirectoryNumber' => '1001']);
    check(false, 'no fault');
} catch (SoapFault $fault) {
    check($fault->faultcode === 'SOAP-ENV:Client' || str_ends_with($fault->faultcode, 'Client'), $fault->faultcode);
    check($fault->getMessage() === 'operation/' . $fault->detail->CSTAErrorCode->operation, $fault->getMessage());
}
ask('MonitorStop', ['monitorCrossRefID' => $monitor]);

// SOAP 1.2, with the sessions of cookies
$options['soap_version'] = SOAP_1_2;
$client = new SoapClient("$url/csta/ed3?wsdl", $options);
$started = ask('StartApplicationSession', ['applicationInfo' => ['applicationID' => 'php'], 'requestedProtocolVersions' => ['protocolVersion' => ['http://www.ecma-international.org/standards/ecma-323/csta/ed3']]]);
check(isset($client->__getCookies()['CSTASession']), $client->__getCookies());
ask('MonitorStart', ['monitorObject' => ['deviceObject' => '1002']]);
ask('StopApplicationSession', ['sessionID' => $started->sessionID, 'sessionEndReason' => ['definedEndReason' => 'normal']]);
try {
    ask('RequestSystemStatus', []);
    check(false, 'no fault');
} catch (SoapFault $fault) {
    check(str_starts_with($fault->getMessage(), 'security/generic: there is no such session'), $fault->getMessage());
}
echo "done\n";
