/**
 * Zones with all that is odd: half and quarter hours, changes at midnight, before it, by 30 min or 2 h, clocks that go
 * back for Ramadan, summer time all the year, a day left out, a change of side across the date line.
 */
export const ODD_ZONES = [
  ...['UTC', 'America/New_York', 'Europe/London', 'Europe/Berlin', 'America/Juneau', 'America/St_Johns'],
  ...['America/Sao_Paulo', 'America/Santiago', 'America/Havana', 'America/Caracas', 'Africa/Cairo'],
  ...['Africa/Casablanca', 'Asia/Beirut', 'Asia/Amman', 'Asia/Tehran', 'Asia/Gaza', 'Asia/Kathmandu', 'Asia/Kolkata'],
  ...['Asia/Pyongyang', 'Australia/Eucla', 'Australia/Lord_Howe', 'Pacific/Chatham', 'Pacific/Apia'],
  ...['Pacific/Kwajalein', 'Pacific/Kiritimati', 'Pacific/Norfolk', 'Antarctica/Troll', 'Antarctica/Casey'],
]
