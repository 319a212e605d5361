export default ({ change, fetched }) => ({
  visit: change.id,
  op: change.op,
  reason: change.data?.reason,
  patient: fetched.patient?.name,
});
