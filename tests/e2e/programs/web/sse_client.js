// Reads an event stream with fetch until it ends: sse_client.js URL. Prints how many events came.
'use strict';
(async () => {
  const response = await fetch(process.argv[2]);
  const text = await response.text();
  console.log(JSON.stringify({ events: text.split('\n\n').filter((event) => /^data:/m.test(event)).length }));
})();
