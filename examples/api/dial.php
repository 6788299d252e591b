<?php
// Has a telephone call a number.
//
//     php dial.php 100 101
//
// TR87_URL is the proxy (http://127.0.0.1:8880), TR87_TOKEN the token; without one, the proxy knows you by your address.
// It needs PHP 8, and no packages.
declare(strict_types=1);

// dial returns the call. The same Idempotency-Key at each attempt: however often it is sent, one call is placed.
function dial(string $device, string $number): string
{
    $headers = ['Content-Type: application/json', 'Idempotency-Key: ' . bin2hex(random_bytes(16)), 'Connection: close'];
    if ($token = getenv('TR87_TOKEN')) {
        $headers[] = "Authorization: Bearer $token";
    }
    $context = stream_context_create(['http' => [
        'method' => 'POST', 'header' => $headers, 'content' => json_encode(['to' => $number]), 'ignore_errors' => true, 'timeout' => 40, 'protocol_version' => '1.1', 'follow_location' => 0,
    ]]);
    $problem = '';
    for ($attempt = 0; $attempt < 4; $attempt++) {
        $retry = 1;
        $stream = @fopen((getenv('TR87_URL') ?: 'http://127.0.0.1:8880') . '/v1/devices/' . rawurlencode($device) . '/calls', 'r', false, $context);
        if ($stream === false) {
            $problem = error_get_last()['message'] ?? 'no connection';
        } else {
            $head = stream_get_meta_data($stream)['wrapper_data'];
            $answer = json_decode(stream_get_contents($stream), true);
            if (explode(' ', $head[0])[1] === '201') {
                return $answer['call'];
            }
            $problem = $answer['detail'] ?? $head[0];
            $wait = preg_filter('/^Retry-After: *(\d+)$/i', '$1', $head);
            if (!$wait) {
                break;
            }
            $retry = (int) reset($wait);
        }
        sleep($retry);
    }
    fwrite(STDERR, "$problem\n");
    exit(1);
}

if ($argc !== 3) {
    fwrite(STDERR, "usage: php dial.php DEVICE NUMBER\n");
    exit(1);
}
$call = dial($argv[1], $argv[2]);
echo "call $call\n";
