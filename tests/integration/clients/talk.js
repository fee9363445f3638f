// What Node's `xmlrpc` package says to an agent, and what it hears; one JSON object on stdout.
'use strict';

const xmlrpc = require('xmlrpc');
const client = xmlrpc.createClient({ url: process.argv[2] });
const heard = {};

function call(name, method, params) {
  return new Promise((resolve, reject) => {
    client.methodCall(method, params, (error, value) => {
      if (error && error.faultCode === undefined) return reject(error);
      heard[name] = error ? { fault: error.faultCode, text: error.faultString } : { value };
      return resolve();
    });
  });
}

async function talk() {
  await call('healthcheck', 'healthcheck', []);
  await call('methods', 'system.listMethods', []);
  await call('help', 'system.methodHelp', ['cmd_submit_reading']);
  await call('text, array', 'cmd_submit_reading', ['text-1', 'echo', ['1.5']]);
  await call('text, string', 'cmd_submit_reading', ['007', 'echo', "'2'"]);
  await call('int, array', 'cmd_submit_reading', [42, 'echo', [3, 4.5]]);
  await call('int, string', 'cmd_submit_reading', [43, 'echo', '4']);
  await call('no sensor', 'cmd_submit_reading', [44, 'no-such-sensor']);
  await call('no method', 'cmd_fly', []);
  await call('multicall', 'system.multicall', [[
    { methodName: 'cmd_submit_reading', params: ['m-1', 'echo', [5]] },
    { methodName: 'cmd_fly', params: [] },
    { methodName: 'cmd_submit_reading', params: [77, 'echo', [6]] },
  ]]);
  process.stdout.write(JSON.stringify(heard));
}

talk().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
